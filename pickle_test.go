package main

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func listOf(values ...any) pyList { return &values }

func dictOf(pairs ...any) pyDict {
	d := pyDict{}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		d[fmt.Sprint(pairs[0])] = pairs[1]
	}
	return d
}

func objectOf(class string, pairs ...any) pyDict {
	return dictOf(append(pairs, className, class)...)
}

// unpickled runs a pickle that others may follow.
func unpickled(pickle string) (object any, rest []byte, err error) {
	defer catchFault(&err)
	object, rest = unpickle([]byte(pickle), map[string]*storage{})
	return object, rest, nil
}

// protocol2 is a pickle that says of which protocol it is: 2, if no other.
func protocol2(pickle string) string {
	if strings.HasPrefix(pickle, "\x80") {
		return pickle
	}
	return "\x80\x02" + pickle
}

func TestPickleValues(t *testing.T) {
	for _, c := range []struct {
		pickle string
		want   any
	}{
		{"N.", nil},
		{"\x88.", true},
		{"\x89.", false},
		{"K\xff.", int64(255)},
		{"M\x00\x80.", int64(32768)},
		{"J\xff\xff\xff\xff.", int64(-1)},
		{"J\x00\x00\x00\x80.", int64(math.MinInt32)},
		{"\x8a\x00.", int64(0)},
		{"\x8a\x01\xff.", int64(-1)},
		{"\x8a\x02\xff\x00.", int64(255)},
		{"\x8a\x05\x00\x00\x00\x00\x01.", int64(1 << 32)},
		{"\x8a\x05\x00\x00\x00\x00\xff.", int64(-1 << 32)},
		{"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", int64(math.MinInt64)},
		{"\x8a\x09123456789.", "123456789"},
		{"G\x3f\xf4\x00\x00\x00\x00\x00\x00.", 1.25},
		{"X\x03\x00\x00\x00\xe2\x82\xac.", "€"},
		{"\x80\x04\x8c\x03\xe2\x82\xac\x94.", "€"},
		{").", pyTuple{}},
		{"K\x01\x85.", pyTuple{int64(1)}},
		{"K\x01K\x02\x86.", pyTuple{int64(1), int64(2)}},
		{"K\x01K\x02K\x03\x87.", pyTuple{int64(1), int64(2), int64(3)}},
		{"(K\x01(K\x02t)t.", pyTuple{int64(1), pyTuple{int64(2)}, pyTuple{}}},
		{"].", listOf()},
		{"]K\x01a(K\x02K\x03e.", listOf(int64(1), int64(2), int64(3))},
		{"}.", dictOf()},
		{"}X\x01\x00\x00\x00aK\x01s(K\x05NX\x01\x00\x00\x00aK\x02u.", dictOf("a", int64(2),
			int64(5), nil)},
		{"ctorch\nFloatStorage\n.", pyName("torch.FloatStorage")},
		{"}]K\x01s)K\x02s.", dictOf("key 0", int64(1), "key 1", int64(2))}, // keys of no name
		{"}K\x01b.", dictOf()},
		{"c__builtin__\neval\n.", pyName("__builtin__.eval")}, // a name is but a name
		{"\x80\x04C\x02abB\x01\x00\x00\x00c\x86.", pyTuple{"ab", "c"}},
		{"\x80\x04\x8f(K\x01\x90.", listOf(int64(1))},
		{"\x80\x04(K\x01\x91.", pyTuple{int64(1)}},
		{"ca\nB\nK\x05\x85\x81.", objectOf("a.B", valuesName, pyTuple{int64(5)})},
		{"ca\nB\n)\x81](K\x05eb.", objectOf("a.B", valuesName, listOf(int64(5)))},
		{"ca\nB\n)\x81K\x05b.", objectOf("a.B", valuesName, int64(5))},
		{"c_codecs\nencode\nX\x01\x00\x00\x00{X\x06\x00\x00\x00latin1\x86R.", "{"},
		{"c__builtin__\nset\n](K\x05e\x85R.", listOf(int64(5))},
		{"ca\nB\n)\x81(K\x01e.", objectOf("a.B")},
		{"ca\nB\n)\x81}X\x01\x00\x00\x00xK\x01sb.",
			objectOf("a.B", "x", int64(1))},
		{"ca\nB\n)\x81N}X\x01\x00\x00\x00xK\x01s\x86b.",
			objectOf("a.B", "x", int64(1))},
		{"ccollections\nOrderedDict\n)R.", dictOf()},
		{"\x80\x04\x8c\x0bcollections\x8c\x0bOrderedDict\x93)R.", dictOf()},
		{"ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00aNsb.", dictOf()},
		// the memo: PUT and GET with short and long slots, MEMOIZE into the next one
		{"K\x07q\x05K\x08r\x06\x00\x00\x00h\x05j\x06\x00\x00\x00\x87K\x09\x86.",
			pyTuple{pyTuple{int64(8), int64(7), int64(8)}, int64(9)}},
		{"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00(K\x07\x94K\x08\x94h\x01h\x00t.",
			pyTuple{int64(7), int64(8), int64(8), int64(7)}},
	} {
		pickle := protocol2(c.pickle)
		got, rest, err := unpickled(pickle + "rest")
		if err != nil || string(rest) != "rest" || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %#v, then %q, %v; want %#v", c.pickle, got, rest, err, c.want)
		}
	}
}

func TestPickleRefused(t *testing.T) {
	for _, c := range []struct{ pickle, want string }{
		{"cos\nsystem\nX\x02\x00\x00\x00id\x85R.",
			`pickle: byte 21: it calls "os.system", which no state dict needs; nothing was run`},
		{"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", `pickle: byte 20: it calls ` +
			`"os.system"`},
		{"c__builtin__\neval\n)R.", `it calls "__builtin__.eval"`},
		{"ctorch._utils\n_rebuild_tensor_v2.__globals__\n)R.",
			`it calls "torch._utils._rebuild_tensor_v2.__globals__"`},
		{"ctorch\nFloatStorage\n)R.", `it calls "torch.FloatStorage"`},
		{"X\x09\x00\x00\x00os.system)R.", "a call of a plain value, with a tuple"},
		{"ccollections\nOrderedDict\n]R.", "a call of a plain value, with a list"},
		{"ccollections\nOrderedDict\nN\x85R.", "an OrderedDict is made of 1 arguments"},
		{"ctorch._utils\n_rebuild_tensor_v2\n)R.", "a tensor is made of 0 arguments"},
		{"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00))\x89NtR.",
			"a tensor is not made of (storage"},
		{"ctorch._utils\n_rebuild_parameter\n)R.", "a parameter is not made of a tensor"},
		{"ctorch._utils\n_rebuild_parameter\nN\x88}\x87R.", "a parameter is not made of a tensor"},
		{"\x80\x04NN\x93.", "a name that is none"},
		{"K\x00)\x81.", "an object is made of a plain value and a tuple"},
		{"ca\nB\nN\x81.", "an object is made of a plain value and a plain value"},
		{"K\x00)N\x92.", "opcode 0x92 is not one that a state dict needs"},
		{"(ios\nsystem\n.", "opcode 0x69"},
		{"(cos\n", "a name has no end"},
		{pickledText(strings.Repeat("x", longestName)) + pickledText("y") + "\x93.",
			"a name that is none"},
		{pickledText(strings.Repeat("x", 1<<20)) + "q\x00}" + strings.Repeat("h\x00Ns", 300) + ".",
			"more than 1048576 opcodes"}, // or the work of 300 long keys
		{"S'x'\n.", "opcode 0x53"},
		{"\x80\x05\x97.", "opcode 0x97"},
		{"\x82\x01.", "opcode 0x82"},
		{"K\x000.", "opcode 0x30"},
		{"Pid\n.", "opcode 0x50"},
		{"\xff.", "opcode 0xff is not one"},
		{"\x80\x01.", "protocol 1: only 2 to 5"},
		{"\x80\x06.", "protocol 6: only 2 to 5"},
		{".", "the stack is too short"},
		{"t.", "there is no mark"},
		{"K\x01(.", "the stack is too short"}, // what is below the mark is not on the stack
		{"K\x01(\x85.", "the stack is too short"},
		{"}(K\x01u.", "1 keys and values are set in a dict"},
		{"]K\x01K\x01s.", "2 keys and values are set in a list"},
		{"}K\x01a.", "items are appended to a dict"},
		{"K\x01}b.", "attributes of a plain value are set from a dict"},
		{"]}b.", "attributes of a list are set from a dict"},
		{"h\x00.", "memo slot 0 is empty"},
		{"q\x00.", "the stack is empty"},
		{"X\xff\xff\xff\xffx.", "the pickle ends in the middle"},
		{"NQ.", "a persistent id that is not a storage's"},
		{"(X\x06\x00\x00\x00moduleNNNNtQ.", "a persistent id that is not a storage's"},
		{"(X\x07\x00\x00\x00storageNNNNtQ.", "a storage's persistent id is not"},
		{"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" +
			"X\x01\x00\x00\x00kNJ\xff\xff\xff\xfftQ.", "a storage's persistent id is not"},
		{"(X\x07\x00\x00\x00storageccollections\nOrderedDict\nX\x01\x00\x00\x00kNK\x01tQ.",
			`storage "k" is of "collections.OrderedDict"`},
		{"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x00kNK\x01)tQ.",
			`storage "k" is a part of another one`},
		{"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" +
			"X\x01\x00\x00\x00kNK\x01tQ(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" +
			"X\x01\x00\x00\x00kNK\x02tQ.", `storage "k" is described in two ways`},
		{strings.Repeat("]", maxSteps), "more than 1048576 opcodes"},
		{"", "pickle: byte 2: the pickle ends in the middle"},
	} {
		_, _, err := unpickled(protocol2(c.pickle))
		wantError(t, fmt.Sprintf("%.60q", c.pickle), err, c.want)
	}
	_, _, err := unpickled("")
	wantWhole(t, "nothing", err, "pickle: byte 0: the pickle ends in the middle")
}

// A negated view (PyTorch 1.14 and newer say so in a seventh argument) would be misread without its
// minus sign.
func TestPickleNegatedView(t *testing.T) {
	tensor := func(metadata string) string {
		s := pickledTensor("FloatStorage", "k", 2, 0, "\x85", 2, 1)
		return "\x80\x02" + strings.TrimSuffix(s, "tR") + metadata + "tR."
	}
	for metadata, ok := range map[string]bool{"N": true, "}": true, "": true, "}" +
		pickledText("neg") + "\x88s": false, "K\x01": false} {
		if _, _, err := unpickled(tensor(metadata)); (err == nil) != ok {
			t.Errorf("metadata %q: %v", metadata, err)
		}
	}
}

// Lists that each hold the one before ten times: forty of them stand for 10⁴⁰ objects. The machine
// builds the forty and never walks them.
func TestPickleBillionLaughs(t *testing.T) {
	program := "\x80\x02]q\x00"
	for range 40 {
		program += "]q\x01(" + strings.Repeat("h\x00", 10) + "eh\x01q\x00"
	}
	outermost := program + "."
	if value, _, err := unpickled(outermost); err != nil ||
		len(*value.(pyList)) != 10 {
		t.Error(value, err)
	}
	// The same where a version, a key or a name is expected: an error must not print it.
	for _, p := range []string{program + "h\x00Q.", program + "h\x00)R.",
		program + "h\x00h\x00\x93."} {
		if _, _, err := unpickled(p); err == nil ||
			len(err.Error()) > 500 {
			t.Errorf("%v", err)
		}
	}
	itself := "\x80\x02]q\x00h\x00a."
	if _, _, err := unpickled(itself); err != nil {
		t.Error(err)
	}
}

func FuzzPickle(f *testing.F) {
	for _, file := range []string{"module-zip", "training-zip", "protocol4-zip", "whole-module-zip",
		"evil-zip"} {
		r := must(zip.OpenReader(torchGolden(file)))
		for _, entry := range r.File {
			if strings.HasSuffix(entry.Name, "/data.pkl") {
				content := must(entry.Open())
				data := must(io.ReadAll(content))
				f.Add(data)
			}
		}
		r.Close()
	}
	data := must(os.ReadFile(torchGolden("protocol5-stream")))
	f.Add(data[30:])
	f.Add([]byte("\x80\x02}" + pickledText("x") + pickledTensor("ByteStorage", "k", 8, 1, "\x86", 2,
		2, 4, 2) + "s."))
	f.Fuzz(func(t *testing.T, data []byte) {
		object, rest, err := unpickled(string(data))
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("an error of several lines: %v", err)
			}
			return
		}
		if !bytes.HasSuffix(data, rest) {
			t.Fatalf("%q follow it in %q", rest, data)
		}
		// Every view lies within its storage, which is all that stands between a file's claims and
		// a read outside of it.
		if d, ok := object.(pyDict); ok {
			for _, value := range d {
				v, ok := value.(*strided)
				if !ok || slices.Contains(v.shape, 0) {
					continue
				}
				last := v.offset
				for i, n := range v.shape {
					last += (n - 1) * v.stride[i]
				}
				if last >= v.storage.count {
					t.Fatalf("%+v reaches %d of %+v", v, last, v.storage)
				}
			}
		}
		plainTree(object)
	})
}
