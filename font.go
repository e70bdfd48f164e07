package main

import (
	"math"
	"strconv"
	"strings"
	"sync"
)

// The font: a plain sans serif in which every glyph is drawn with one round pen: no outlines, only
// the path of the pen's middle. Bitmaps are made from the paths at the scale that is asked for, so
// a picture at scale 2 has strokes of twice the pixels and no staircase.
//
// The paths lie on the pixel grid of scale 1: (0, 0) is the middle of the pixel at the left end of
// the baseline, x grows to the right, y up. A stem at a whole x fills one column of pixels and
// stays as crisp as one of a bitmap font; only slants and bends are smoothed.
//
//	y = 13  top of an accent on a capital
//	y = 10  ascender: b d f h k l
//	y =  9  capitals and digits
//	y =  6  small letters: a c e m n …
//	y =  0  baseline
//	y = -3  descender: g j p q y
//
// Points side by side are joined by straight lines. A point in parentheses is a control point: the
// pen bends towards it and does not reach it, and between two control points it passes through
// their middle (the convention of TrueType's outlines). A stroke that begins with a control point
// is a closed loop, so a box of four control points is an "o". A bar lifts the pen; one point alone
// is a dot.

// glyph is one character: the pixels from its origin to the next one's, and the strokes of the pen.
type glyph struct {
	char    rune
	advance int
	strokes string
}

// The accents are stored under their combining characters and drawn around x = 0, above a small
// letter.
const (
	grave      = '\u0300'
	acute      = '\u0301'
	circumflex = '\u0302'
	tilde      = '\u0303'
	diaeresis  = '\u0308'
	ring       = '\u030a'
	cedilla    = '\u0327'
)

var glyphs = []glyph{
	{' ', 4, ""},
	{'!', 4, "1.5,9 1.5,3 | 1.5,0 1.5,0.5"},
	{'"', 6, "1.5,9 1.5,6.5 | 4,9 4,6.5"},
	{'#', 9, "3,9 1.6,0 | 6.4,9 5,0 | 0.8,6 7.4,6 | 0.6,3 7.2,3"},
	{'$', 8, "6,6.8 (5.2,8) 3.6,8 (1,8) 1,6.2 (1,4.7) 3.6,4.2 (6.3,3.7) 6.3,2.1 (6.3,0) 3.6,0 " +
		"(1.8,0) 0.9,1.2 | 3.6,10 3.6,-2"},
	{'%', 12, "(1,9) (4.6,9) (4.6,4.6) (1,4.6) | (6.4,4.4) (10,4.4) (10,0) (6.4,0) | 8.6,9 2.4,0"},
	{'&', 10, "8.2,4.2 (7.6,0) 3.6,0 (1,0) 1,2.3 (1,3.8) 3.2,5.1 (5.6,6.4) 5.6,7.5 (5.6,9) 3.9,9 " +
		"(2.2,9) 2.2,7.4 (2.2,6.4) 3,5.5 8.6,0"},
	{'\'', 3, "1,9 1,6.5"},
	{'(', 5, "3.5,10 (1,7.2) 1,4 (1,0.8) 3.5,-2.4"},
	{')', 5, "0.6,10 (3.1,7.2) 3.1,4 (3.1,0.8) 0.6,-2.4"},
	{'*', 7, "3,9 3,4.6 | 1,8 5,5.6 | 5,8 1,5.6"},
	{'+', 9, "4,7 4,1 | 1,4 7,4"},
	{',', 4, "1.5,0.5 1.5,-0.3 0.8,-2"},
	{'-', 5, "0.9,3 3.5,3"},
	{'.', 4, "1.5,0 1.5,0.5"},
	{'/', 5, "4.2,10 0.3,-1.4"},
	{'0', 8, "(1,9) (6,9) (6,0) (1,0)"},
	{'1', 8, "1.4,7.8 3.8,9 4,9 4,0 | 1.6,0 6.3,0"},
	{'2', 8, "1,7.4 (1.9,9) 3.5,9 (6,9) 6,6.6 (6,5.2) 4.4,3.5 1,0 6.2,0"},
	{'3', 8, "1.1,8.2 (2,9) 3.4,9 (5.9,9) 5.9,7 (5.9,5) 3.5,5 2.7,5 | " +
		"3.5,5 (6.2,5) 6.2,2.5 (6.2,0) 3.4,0 (1.8,0) 0.9,0.9"},
	{'4', 8, "5,0 5,9 4.7,9 0.8,3 6.7,3"},
	{'5', 8, "5.7,9 1.5,9 1.3,5.1 (2.2,5.8) 3.4,5.8 (6.1,5.8) 6.1,2.9 (6.1,0) 3.2,0 (1.8,0) " +
		"0.9,0.8"},
	{'6', 8, "5.6,8.5 (4.9,9) 3.9,9 (1,9) 1,3.9 | (1,5.8) (6.1,5.8) (6.1,0) (1,0)"},
	{'7', 8, "1,9 6.2,9 2.7,0"},
	{'8', 8, "(1.3,9) (5.8,9) (5.8,5) (1.3,5) | (1,5) (6.1,5) (6.1,0) (1,0)"},
	{'9', 8, "1.4,0.5 (2.1,0) 3.1,0 (6,0) 6,5.1 | (6,3.2) (0.9,3.2) (0.9,9) (6,9)"},
	{':', 4, "1.5,5.5 1.5,6 | 1.5,0 1.5,0.5"},
	{';', 4, "1.5,5.5 1.5,6 | 1.5,0.5 1.5,-0.3 0.8,-2"},
	{'<', 9, "7,7 1,4 7,1"},
	{'=', 9, "1,5.5 7,5.5 | 1,2.5 7,2.5"},
	{'>', 9, "1,7 7,4 1,1"},
	{'?', 7, "0.9,8 (1.7,9) 3,9 (5.3,9) 5.3,7 (5.3,5.8) 4.2,5 (3,4.2) 3,2.8 | 3,0 3,0.5"},
	{'@', 13, "8.3,5 (7.9,6) 6.3,6 (3.8,6) 3.8,3.6 (3.8,1) 6,1 (7.8,1) 8.3,3 | " +
		"8.4,6.2 8.3,2.6 (8.3,1) 9.4,1 (11.2,1) 11.2,4.2 (11.2,9) 6.3,9 (1,9) 1,3.6 (1,-2) " +
		"6.4,-2 (7.8,-2) 9,-1.4"},
	{'A', 9, "0.5,0 3.9,9 4.1,9 7.5,0 | 1.7,3 6.3,3"},
	{'B', 9, "4.4,5 (6.6,5) 6.6,7 (6.6,9) 4.4,9 1,9 1,0 4.6,0 (7,0) 7,2.5 (7,5) 4.6,5 1,5"},
	{'C', 9, "7.3,7.8 (6.3,9) 4.7,9 (1,9) 1,4.5 (1,0) 4.7,0 (6.3,0) 7.3,1.2"},
	{'D', 10, "1,0 1,9 3.8,9 (8,9) 8,4.5 (8,0) 3.8,0 1,0"},
	{'E', 8, "6.3,9 1,9 1,0 6.4,0 | 1,5 5.8,5"},
	{'F', 8, "6.3,9 1,9 1,0 | 1,5 5.6,5"},
	{'G', 10, "7.6,7.8 (6.6,9) 4.8,9 (1,9) 1,4.5 (1,0) 4.8,0 (6.8,0) 8,1.3 8,4 5.2,4"},
	{'H', 9, "1,9 1,0 | 7,9 7,0 | 1,5 7,5"},
	{'I', 3, "1,9 1,0"},
	{'J', 7, "5,9 5,2.8 (5,0) 2.8,0 (1.3,0) 0.8,1.2"},
	{'K', 8, "1,9 1,0 | 6.8,9 1,3.6 | 2.9,5.3 7.2,0"},
	{'L', 7, "1,9 1,0 6,0"},
	{'M', 11, "1,0 1,9 1.3,9 5,3 8.7,9 9,9 9,0"},
	{'N', 9, "1,0 1,9 1.3,9 6.7,0 7,0 7,9"},
	{'O', 10, "(1,9) (8,9) (8,0) (1,0)"},
	{'P', 8, "1,0 1,9 4,9 (6.6,9) 6.6,6.5 (6.6,4) 4,4 1,4"},
	{'Q', 10, "(1,9) (8,9) (8,0) (1,0) | 5.3,1.2 7.3,-1.9"},
	{'R', 9, "1,0 1,9 4,9 (6.6,9) 6.6,6.7 (6.6,4.4) 4,4.4 1,4.4 | 4.4,4.4 7.2,0"},
	{'S', 8, "6.3,7.8 (5.4,9) 3.7,9 (1,9) 1,6.8 (1,5.2) 3.7,4.7 (6.6,4.1) 6.6,2.3 (6.6,0) 3.6,0 " +
		"(1.8,0) 0.8,1.3"},
	{'T', 8, "0.4,9 7.2,9 | 3.8,9 3.8,0"},
	{'U', 9, "1,9 1,3.5 (1,0) 4,0 (7,0) 7,3.5 7,9"},
	{'V', 9, "0.5,9 3.9,0 4.1,0 7.5,9"},
	{'W', 12, "0.4,9 2.8,0 3,0 5.6,9 5.8,9 8.4,0 8.6,0 11,9"},
	{'X', 8, "0.7,9 6.9,0 | 6.9,9 0.7,0"},
	{'Y', 8, "0.3,9 3.8,4.4 7.3,9 | 3.8,4.4 3.8,0"},
	{'Z', 8, "0.9,9 6.8,9 0.9,0 7,0"},
	{'[', 5, "3.3,10 1,10 1,-2 3.3,-2"},
	{'\\', 5, "0.3,10 4.2,-1.4"},
	{']', 5, "0.7,10 3,10 3,-2 0.7,-2"},
	{'^', 9, "1,6 4,9 7,6"},
	{'_', 7, "0,-2 6,-2"},
	{'`', 6, "1.6,10 3.4,8"},
	{'a', 8, "1.2,5.4 (2.2,6) 3.4,6 (6,6) 6,3.6 6,0 | 6,3.3 3.6,3.3 (1,3.3) 1,1.6 (1,0) 3,0 " +
		"(6,0) 6,2.6"},
	{'b', 8, "1,10 1,0 | (1,6) (6,6) (6,0) (1,0)"},
	{'c', 7, "5.5,5.3 (4.7,6) 3.6,6 (1,6) 1,3 (1,0) 3.6,0 (4.7,0) 5.5,0.7"},
	{'d', 8, "6,10 6,0 | (1,6) (6,6) (6,0) (1,0)"},
	{'e', 8, "1,3 6,3 (6,6) 3.5,6 (1,6) 1,3 (1,0) 3.8,0 (5,0) 5.8,0.6"},
	{'f', 5, "4.9,10 4.3,10 (2,10) 2,8 2,0 | 0.3,6 4.6,6"},
	{'g', 8, "6,6 6,-0.4 (6,-3) 3.4,-3 (2.2,-3) 1.4,-2.5 | (1,6) (6,6) (6,0) (1,0)"},
	{'h', 8, "1,10 1,0 | 1,3 (1,6) 3.6,6 (6,6) 6,3.5 6,0"},
	{'i', 3, "1,6 1,0 | 1,8.7 1,9.2"},
	{'j', 3, "1,6 1,-0.8 (1,-3) -0.6,-3 | 1,8.7 1,9.2"},
	{'k', 7, "1,10 1,0 | 5.5,6 1.2,2.4 | 2.7,3.6 5.9,0"},
	{'l', 3, "1,10 1,0"},
	{'m', 13, "1,6 1,0 | 1,3 (1,6) 3.4,6 (6,6) 6,3.5 6,0 | 6,3 (6,6) 8.5,6 (11,6) 11,3.5 11,0"},
	{'n', 8, "1,6 1,0 | 1,3 (1,6) 3.6,6 (6,6) 6,3.5 6,0"},
	{'o', 8, "(1,6) (6,6) (6,0) (1,0)"},
	{'p', 8, "1,6 1,-3 | (1,6) (6,6) (6,0) (1,0)"},
	{'q', 8, "6,6 6,-3 | (1,6) (6,6) (6,0) (1,0)"},
	{'r', 5, "1,6 1,0 | 1,3 (1,6) 3.5,6 4.5,6"},
	{'s', 7, "5,5.2 (4.2,6) 3.1,6 (1,6) 1,4.6 (1,3.5) 3,3.1 (5.3,2.7) 5.3,1.5 (5.3,0) 3,0 " +
		"(1.6,0) 0.8,0.9"},
	{'t', 5, "2,8.4 2,2 (2,0) 3.8,0 4.5,0 | 0.3,6 4.5,6"},
	{'u', 8, "1,6 1,2.5 (1,0) 3.4,0 (6,0) 6,3 | 6,6 6,0"},
	{'v', 7, "0.5,6 2.9,0 3.1,0 5.5,6"},
	{'w', 10, "0.5,6 2.4,0 2.6,0 4.4,6 4.6,6 6.4,0 6.6,0 8.5,6"},
	{'x', 7, "0.7,6 5.4,0 | 5.4,6 0.7,0"},
	{'y', 7, "0.5,6 3.1,0 | 5.6,6 2.7,-1.6 (2.2,-3) 1,-3 0.5,-3"},
	{'z', 7, "0.9,6 5.2,6 0.9,0 5.4,0"},
	{'{', 6, "4.6,10 4.2,10 (2.6,10) 2.6,8.4 2.6,6 (2.6,4) 0.8,4 (2.6,4) 2.6,2 2.6,-0.4 (2.6,-2) " +
		"4.2,-2 4.6,-2"},
	{'|', 5, "2,10 2,-3"},
	{'}', 6, "0.6,10 1,10 (2.6,10) 2.6,8.4 2.6,6 (2.6,4) 4.4,4 (2.6,4) 2.6,2 2.6,-0.4 (2.6,-2) " +
		"1,-2 0.6,-2"},
	{'~', 9, "1,3.4 (1.8,4.8) 2.9,4.8 (3.6,4.8) 4.2,4 (4.8,3.2) 5.4,3.2 (6.4,3.2) 7.2,4.6"},

	{'\u00a0', 4, ""},
	{'¡', 4, "1.5,-3 1.5,3 | 1.5,5.5 1.5,6"},
	{'¢', 8, "5.8,5.3 (5,6) 3.9,6 (1.3,6) 1.3,3 (1.3,0) 3.9,0 (5,0) 5.8,0.7 | 3.8,8 3.8,-2"},
	{'£', 8, "6.2,8.3 (5.4,9) 4.6,9 (2.4,9) 2.4,6.6 2.4,2.4 (2.4,0.6) 1,0 6.4,0 | 0.8,4 5,4"},
	{'¤', 9, "(1.7,6.6) (6.3,6.6) (6.3,1.4) (1.7,1.4) | 1,7 2.4,5.7 | 7,7 5.6,5.7 | " +
		"1,1 2.4,2.3 | 7,1 5.6,2.3"},
	{'¥', 8, "0.3,9 3.8,4.6 7.3,9 | 3.8,4.6 3.8,0 | 1,4 6.6,4 | 1,2 6.6,2"},
	{'¦', 5, "2,10 2,5 | 2,2 2,-3"},
	{'§', 7, "4.9,8.3 (4.2,9) 3.1,9 (1.3,9) 1.3,7.6 (1.3,6.6) 3.2,5.8 (5.5,4.9) 5.5,3.6 " +
		"(5.5,2.5) 4,1.9 | 2.4,5.9 (0.8,5.3) 0.8,4 (0.8,2.9) 2.9,2.1 (5,1.3) 5,-0.2 (5,-2) " +
		"3.1,-2 (1.8,-2) 1,-1.3"},
	{'¨', 6, "1.3,9 1.3,9.3 | 4,9 4,9.3"},
	{'©', 12, "(1,9) (10,9) (10,0) (1,0) | 7.3,6.2 (6.6,7) 5.7,7 (3.5,7) 3.5,4.5 (3.5,2) 5.7,2 " +
		"(6.6,2) 7.3,2.8"},
	{'ª', 6, "0.9,8.6 (1.7,9) 2.5,9 (4,9) 4,7.5 4,5 | 4,7 2.6,7 (0.9,7) 0.9,6 (0.9,5) 2.2,5 " +
		"(4,5) 4,6.6 | 0.8,3 4.2,3"},
	{'«', 8, "3.3,5.6 1,3 3.3,0.4 | 6.3,5.6 4,3 6.3,0.4"},
	{'¬', 9, "1,4 7,4 7,1.4"},
	{'\u00ad', 5, "0.9,3 3.5,3"},
	{'®', 12, "(1,9) (10,9) (10,0) (1,0) | 4,2 4,7 5.8,7 (7.2,7) 7.2,5.7 (7.2,4.4) 5.8,4.4 4,4.4 " +
		"| 5.8,4.4 7.3,2"},
	{'¯', 6, "0.9,9 4.2,9"},
	{'°', 6, "(0.9,9) (4.2,9) (4.2,5.6) (0.9,5.6)"},
	{'±', 9, "4,8 4,2 | 1,5 7,5 | 1,0 7,0"},
	{'²', 6, "0.9,8.2 (1.4,9) 2.3,9 (3.9,9) 3.9,7.6 (3.9,6.8) 3,6 0.9,4 4.1,4"},
	{'³', 6, "0.9,8.6 (1.5,9) 2.3,9 (3.8,9) 3.8,7.8 (3.8,6.7) 2.4,6.7 | " +
		"2.4,6.7 (4,6.7) 4,5.3 (4,4) 2.3,4 (1.4,4) 0.8,4.5"},
	{'´', 6, "2,8 3.8,10"},
	{'µ', 8, "1,6 1,-3 | 1,2.5 (1,0) 3.4,0 (6,0) 6,3 | 6,6 6,0"},
	{'¶', 8, "6,-2 6,9 3.6,9 (0.9,9) 0.9,6.6 (0.9,4.2) 3.6,4.2 | 3.8,9 3.8,-2 | " +
		"2.4,8.1 2.4,5.2 | 3,8.6 3,4.7"},
	{'·', 4, "1.5,3.5 1.5,4"},
	{'¸', 6, "2.6,0 2.6,-0.9 (4,-1) 4,-2 (4,-3) 2.6,-3 1.6,-3"},
	{'¹', 5, "0.9,8.2 2.4,9 2.5,9 2.5,4"},
	{'º', 6, "(0.9,9) (4.2,9) (4.2,5) (0.9,5) | 0.8,3 4.3,3"},
	{'»', 8, "1,5.6 3.3,3 1,0.4 | 4,5.6 6.3,3 4,0.4"},
	{'¼', 12, "0.6,8.3 1.9,9 2,9 2,4.4 | 9.4,9 2.6,0 | 9.6,0 9.6,4.6 7,1.5 10.8,1.5"},
	{'½', 12, "0.6,8.3 1.9,9 2,9 2,4.4 | 9,9 2.2,0 | 7.2,4 (7.7,4.7) 8.6,4.7 (10.2,4.7) 10.2,3.4 " +
		"(10.2,2.6) 9.3,1.9 7.2,0 10.5,0"},
	{'¾', 13, "0.9,8.6 (1.5,9) 2.3,9 (3.7,9) 3.7,7.9 (3.7,6.8) 2.4,6.8 | " +
		"2.4,6.8 (3.9,6.8) 3.9,5.6 (3.9,4.4) 2.3,4.4 (1.4,4.4) 0.8,4.8 | 10,9 3.2,0 | " +
		"10.2,0 10.2,4.6 7.6,1.5 11.4,1.5"},
	{'¿', 7, "5.1,-2 (4.3,-3) 3,-3 (0.7,-3) 0.7,-1 (0.7,0.2) 1.8,1 (3,1.8) 3,3.2 | 3,5.5 3,6"},
	{'Æ', 13, "0.4,0 5.2,9 11.2,9 | 6,9 6,0 11.3,0 | 6,5 10.7,5 | 2,3 6,3"},
	{'Ð', 10, "1,0 1,9 3.8,9 (8,9) 8,4.5 (8,0) 3.8,0 1,0 | -0.6,5 4,5"},
	{'×', 9, "1.4,6.6 6.6,1.4 | 1.4,1.4 6.6,6.6"},
	{'Ø', 10, "(1,9) (8,9) (8,0) (1,0) | 8.2,9.8 0.8,-0.8"},
	{'Þ', 8, "1,9 1,0 | 1,7 4,7 (6.6,7) 6.6,4.5 (6.6,2) 4,2 1,2"},
	{'ß', 8, "1,0 1,7.6 (1,10) 3.2,10 (5.2,10) 5.2,8.2 (5.2,6.8) 4.3,6.2 (3.4,5.6) 3.4,4.9 " +
		"(3.4,4) 4.6,3.4 (6.2,2.6) 6.2,1.6 (6.2,0) 4.2,0 3.2,0"},
	{'æ', 13, "1.2,5.4 (2.2,6) 3.4,6 (6,6) 6,3.6 6,3 | 6,3.3 3.6,3.3 (1,3.3) 1,1.6 (1,0) 3,0 " +
		"(6,0) 6,2.6 | 6,3 11,3 (11,6) 8.5,6 (6,6) 6,3 (6,0) 8.8,0 (10,0) 10.8,0.6"},
	{'ð', 8, "(1,6) (6,6) (6,0) (1,0) | 6,3 (6,6.4) 2.6,10 | 1.6,7.6 5.2,9.2"},
	{'÷', 9, "1,4 7,4 | 4,7 4,7.4 | 4,0.6 4,1"},
	{'ø', 8, "(1,6) (6,6) (6,0) (1,0) | 6.3,6.9 0.7,-0.9"},
	{'þ', 8, "1,10 1,-3 | (1,6) (6,6) (6,0) (1,0)"},

	{'î', 5, "2,6 2,0 | 0,8 2,9.8 4,8"},
	{'ï', 5, "2,6 2,0 | 0.5,8.5 0.5,9 | 3.5,8.5 3.5,9"},
	{'Î', 5, "2,9 2,0 | 0,11 2,12.8 4,11"},
	{'Ï', 5, "2,9 2,0 | 0.5,11.5 0.5,12 | 3.5,11.5 3.5,12"},
	{'ı', 3, "1,6 1,0"},
	{'–', 7, "0,3 6,3"},
	{'—', 13, "0,3 12,3"},
	{'‘', 3, "1.6,9.4 1.1,8.4 1.1,7.4"},
	{'’', 3, "1.4,9 1.4,8 0.9,7"},
	{'“', 6, "1.6,9.4 1.1,8.4 1.1,7.4 | 4.3,9.4 3.8,8.4 3.8,7.4"},
	{'”', 6, "1.4,9 1.4,8 0.9,7 | 4.1,9 4.1,8 3.6,7"},
	{'•', 6, "(1.6,4.9) (3.4,4.9) (3.4,3.1) (1.6,3.1) | 2.5,4"},
	{'…', 10, "1.5,0 1.5,0.5 | 4.5,0 4.5,0.5 | 7.5,0 7.5,0.5"},
	{'€', 9, "7,7.9 (6.2,9) 5,9 (2,9) 2,4.5 (2,0) 5,0 (6.2,0) 7,1.1 | 0.4,5.5 5.6,5.5 | " +
		"0.4,3.5 5.2,3.5"},
	{'−', 8, "1,4 6.2,4"},
	{'→', 13, "1.8,4 10,4 | 7,7 10.2,4 7,1"},
	{'∞', 12, "5.4,4 (7,6.4) 8.2,6.4 (10.2,6.4) 10.2,4 (10.2,1.6) 8.2,1.6 (7,1.6) 5.4,4 " +
		"(3.8,6.4) 2.8,6.4 (0.8,6.4) 0.8,4 (0.8,1.6) 2.8,1.6 (3.8,1.6) 5.4,4"},
	{'␣', 8, "1,0.5 1,-1.5 6,-1.5 6,0.5"},
	{'\ufffd', 8, "1,0 1,9 6,9 6,0 1,0"},

	{grave, 0, "-1.2,10 0.5,8"},
	{acute, 0, "1.2,10 -0.5,8"},
	{circumflex, 0, "-2,8 0,9.8 2,8"},
	{tilde, 0, "-2.5,8.2 (-2,9.4) -1.2,9.4 (-0.6,9.4) 0,8.9 (0.6,8.4) 1.2,8.4 (2,8.4) 2.5,9.6"},
	{diaeresis, 0, "-1.5,8.5 -1.5,9 | 1.5,8.5 1.5,9"},
	{ring, 0, "(-1.6,10.6) (1.6,10.6) (1.6,7.8) (-1.6,7.8)"},
	{cedilla, 0, "0,0 0,-0.9 (1.4,-1) 1.4,-2 (1.4,-3) 0,-3 -1,-3"},
}

// accented says which letters carry an accent, and what they are with it.
var accented = []struct {
	accent        rune
	letters, with string
}{
	{grave, "AEIOUaeıou", "ÀÈÌÒÙàèìòù"},
	{acute, "AEIOUYaeıouy", "ÁÉÍÓÚÝáéíóúý"},
	{circumflex, "AEOUaeou", "ÂÊÔÛâêôû"},
	{tilde, "ANOano", "ÃÑÕãñõ"},
	{diaeresis, "AEOUaeouy", "ÄËÖÜäëöüÿ"},
	{ring, "Aa", "Åå"},
	{cedilla, "Cc", "Çç"},
}

type font struct {
	size  float64 // pixels of scale 1 for each unit of the glyphs' grid
	pen   float64 // width of the pen, pixels of scale 1
	scale int
	drawn map[rune]*bitmap
}

// bitmap is one glyph: how many eighths of each pixel the pen covers, row by row from the top. Its
// top left pixel lies left pixels to the right of the origin and top (negative) pixels below the
// baseline.
type bitmap struct {
	left, top, width, height int
	cover                    []uint8
}

// levels is the number of steps from paper to ink: enough for a smooth edge, few enough for a
// palette.
const levels = 8

func newFont(size, pen float64, scale int) *font {
	return &font{size, pen, scale, map[rune]*bitmap{}}
}

// width is the length of a text in pixels of scale 1.
func (f *font) width(text string) int {
	sum := 0
	for _, char := range text {
		sum += f.advance(char)
	}
	return sum
}

// advance is the distance to the next character's origin, in pixels of scale 1.
func (f *font) advance(char rune) int {
	letter, _, _ := findGlyph(char)
	return int(math.Round(float64(letter.advance) * f.size))
}

// findGlyph gives the glyph of a character and, if it is an accented letter, that of its accent.
// What the font lacks becomes an empty box.
func findGlyph(char rune) (letter, accent *glyph, found bool) {
	g, found := glyphIndex()[char]
	if !found {
		g = glyphIndex()['\ufffd']
	}
	return g[0], g[1], found
}

// glyphIndex holds for each character its glyph, or its letter's and its accent's.
var glyphIndex = sync.OnceValue(func() map[rune][2]*glyph {
	index := make(map[rune][2]*glyph, 2*len(glyphs))
	for i := range glyphs {
		index[glyphs[i].char] = [2]*glyph{&glyphs[i]}
	}
	for _, a := range accented {
		letters := []rune(a.letters)
		for i, char := range []rune(a.with) {
			index[char] = [2]*glyph{index[letters[i]][0], index[a.accent][0]}
		}
	}
	return index
})

// bitmap draws a character, once.
func (f *font) bitmap(char rune) *bitmap {
	if b := f.drawn[char]; b != nil {
		return b
	}
	letter, accent, _ := findGlyph(char)
	strokes := parseStrokes(letter.strokes, 0, 0)
	if accent != nil {
		dy := 0.0
		if letter.char < 'a' && accent.char != cedilla {
			dy = 3 // a capital is taller than a small letter
		}
		left, right := extent(strokes)
		strokes = append(strokes, parseStrokes(accent.strokes, (left+right)/2, dy)...)
	}
	b := f.draw(strokes)
	f.drawn[char] = b
	return b
}

type point struct{ x, y float64 }

// parseStrokes turns the notation of the glyph table into polylines, moved by (dx, dy).
func parseStrokes(text string, dx, dy float64) [][]point {
	var strokes [][]point
	for _, part := range strings.Split(text, "|") {
		words := strings.Fields(part)
		if len(words) == 0 {
			continue
		}
		points := make([]point, len(words))
		control := make([]bool, len(words))
		for i, word := range words {
			x, y, _ := strings.Cut(strings.Trim(word, "()"), ",")
			points[i].x, _ = strconv.ParseFloat(x, 64)
			points[i].y, _ = strconv.ParseFloat(y, 64)
			points[i].x += dx
			points[i].y += dy
			control[i] = word[0] == '('
		}
		strokes = append(strokes, flatten(points, control))
	}
	return strokes
}

// flatten replaces the bends of one stroke by short straight lines.
func flatten(points []point, control []bool) []point {
	if control[0] {
		start := middle(points[0], points[len(points)-1]) // of a closed loop, and its end
		points = append(append([]point{start}, points...), start)
		control = append(append([]bool{false}, control...), false)
	}
	line := points[:1:1]
	for i := 1; i < len(points); i++ {
		if !control[i] {
			line = append(line, points[i])
			continue
		}
		via, end := points[i], points[i+1]
		if control[i+1] {
			end = middle(via, end)
		} else {
			i++
		}
		line = bend(line, via, end)
	}
	return line
}

func middle(a, b point) point { return point{(a.x + b.x) / 2, (a.y + b.y) / 2} }

// roundness is the weight of a control point: √½ makes an ellipse's quarter of a bend, 1 a
// parabola, which is squarer.
const roundness = 0.8

// bend appends the curve from the end of line to end, drawn towards via: a rational quadratic
// Bézier curve.
func bend(line []point, via, end point) []point {
	const pieces = 8
	start := line[len(line)-1]
	for i := 1; i <= pieces; i++ {
		t := float64(i) / pieces
		a, b, c := (1-t)*(1-t), 2*roundness*t*(1-t), t*t
		line = append(line, point{
			(a*start.x + b*via.x + c*end.x) / (a + b + c),
			(a*start.y + b*via.y + c*end.y) / (a + b + c),
		})
	}
	return line
}

// extent gives the smallest and the largest x of a glyph.
func extent(strokes [][]point) (left, right float64) {
	left, right = math.Inf(1), math.Inf(-1)
	for _, line := range strokes {
		for _, p := range line {
			left, right = min(left, p.x), max(right, p.x)
		}
	}
	return left, right
}

// draw covers pixels with the pen: one whose centre is d from the pen's path is covered by
// radius + ½ − d of it, between 0 and 1.
func (f *font) draw(strokes [][]point) *bitmap {
	if len(strokes) == 0 {
		return &bitmap{}
	}
	// From the glyphs' grid to pixels of the picture, rounded so that horizontal strokes stay
	// crisp at any size.
	scale, radius := float64(f.scale), f.pen*float64(f.scale)/2
	low, high := point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
	for _, line := range strokes {
		for i, p := range line {
			y := p.y * f.size
			if p.y == math.Trunc(p.y) {
				y = math.Round(y)
			}
			line[i] = point{(p.x*f.size + 0.5) * scale, (0.5 - y - 1) * scale}
			low = point{min(low.x, line[i].x), min(low.y, line[i].y)}
			high = point{max(high.x, line[i].x), max(high.y, line[i].y)}
		}
	}
	b := &bitmap{}
	b.left, b.top = int(math.Floor(low.x-radius-0.5)), int(math.Floor(low.y-radius-0.5))
	b.width = int(math.Ceil(high.x+radius+0.5)) - b.left
	b.height = int(math.Ceil(high.y+radius+0.5)) - b.top
	b.cover = make([]uint8, b.width*b.height)
	for _, line := range strokes {
		start := line[0]
		for _, end := range line[min(1, len(line)-1):] {
			b.drawSegment(start, end, radius)
			start = end
		}
	}
	return b
}

// drawSegment draws the pen's way from start to end (in pixels of the picture), which reaches only
// pixels near it, where nothing darker has been drawn yet.
func (b *bitmap) drawSegment(start, end point, radius float64) {
	left := int(min(start.x, end.x)-radius-0.5-float64(b.left)) - 1
	right := int(max(start.x, end.x)+radius+0.5-float64(b.left)) + 1
	top := int(min(start.y, end.y)-radius-0.5-float64(b.top)) - 1
	bottom := int(max(start.y, end.y)+radius+0.5-float64(b.top)) + 1
	for y := max(top, 0); y < min(bottom, b.height); y++ {
		for x := max(left, 0); x < min(right, b.width); x++ {
			d := distance(point{float64(b.left+x) + 0.5, float64(b.top+y) + 0.5}, start, end)
			cover := max(0, min(1, radius+0.5-d))
			i := y*b.width + x
			b.cover[i] = max(b.cover[i], uint8(levels*cover+0.5))
		}
	}
}

// distance from p to the nearest point of the straight line from a to b.
func distance(p, a, b point) float64 {
	dx, dy := b.x-a.x, b.y-a.y
	x, y := p.x-a.x, p.y-a.y
	if along, length := x*dx+y*dy, dx*dx+dy*dy; along >= length {
		x, y = p.x-b.x, p.y-b.y
	} else if along > 0 {
		x, y = x-dx*along/length, y-dy*along/length
	}
	return math.Sqrt(x*x + y*y)
}
