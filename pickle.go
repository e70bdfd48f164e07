package main

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// A small, deaf pickle machine.
//
// A pickle is how Python writes an object to a file, and it is not data but a program: one-byte
// opcodes for a machine with a stack, marks on it, and a memo (numbered slots, so that an object
// that occurs twice is written once). The program builds the object bottom-up and ends in STOP with
// the object alone on the stack. A state dict of one tensor, abridged:
//
//	PROTO 2                                  \x80 \x02
//	GLOBAL collections.OrderedDict           c collections \n OrderedDict \n
//	EMPTY_TUPLE  REDUCE                      ) R      call it with (): an empty OrderedDict
//	MARK                                     (        what SETITEMS will take begins here
//	BINUNICODE 'wte.weight'                  X        the key
//	GLOBAL torch._utils._rebuild_tensor_v2   c        the function that will make the value
//	MARK                                     (        and its arguments:
//	MARK 'storage' GLOBAL torch.FloatStorage '0' 'cpu' 6 TUPLE
//	BINPERSID                                Q        a storage of 6 float32, elsewhere as "0"
//	0  2 3 TUPLE2  3 1 TUPLE2  FALSE  …      K \x86   offset 0, shape (2, 3), strides (3, 1), …
//	TUPLE  REDUCE                            t R      call the function: a tensor
//	SETITEMS  STOP                           u .      put it into the dict; done
//
// GLOBAL may name anything that Python can import and REDUCE calls it, so that in Python to load a
// pickle is to run it: GLOBAL os.system and REDUCE ('…') are all that an attacker needs. And a few
// dozen bytes that put a list of ten references into a list of ten references, and so on, unfold
// into more objects than a computer has memory for.
//
// This machine is safe because of what it cannot do. A name is a string to it. It knows the few
// functions that a state dict needs (its library's) and stops at a call of any other. These do not
// run what Python would run: they check their arguments and note down what was asked for. An object
// of a class (NEWOBJ, BUILD) becomes a dict of its attributes. The machine never looks into an
// object that it has built, so objects that contain each other a million times cost nothing, and a
// program may be no longer than maxSteps opcodes, each of which makes at most one small object.
// Opcodes that torch.save does not write are refused.
//
// The opcodes are described in Python's own pickletools module.

const (
	maxSteps  = 1 << 20  // opcodes in a pickle: GPT-2 XL's state dict has some 25,000
	maxPickle = 64 << 20 // bytes in a pickle
)

// A pickled value is one of
//
//	nil, bool, int64, float64, string
//	longInt    an integer of more than 8 bytes, as its little-endian bytes
//	pyTuple, *pyList, *pyDict
//	pyName     the name of a function or class
//	fmt.Stringer, made by the library: for PyTorch's files a *storage or a *strided
type (
	longInt string
	pyTuple []any
	pyList  struct{ items []any }
	pyName  string
)

// A pyDict is a Python dict or OrderedDict: the keys in order of their first insertion. With the
// name of a class it is an object of that class, with its attributes.
type pyDict struct {
	class  pyName
	state  []*pyDict // where its attributes are
	keys   []any
	values map[any]any
}

// A library is what the reader of a file format lets a pickle use.
type library struct {
	functions  map[pyName]func(args pyTuple) (any, error) // all that it may call
	persistent func(id any) (any, error)                  // makes what is kept outside of it
}

type pickleMachine struct {
	library
	program []byte
	at      int // the next byte
	stack   []any
	marks   []int // heights of the stack
	memo    map[uint32]any
	err     error // the first fault: it ends the program after the opcode
}

// unpickle runs the pickle at the beginning of data, and returns its object and its length in
// bytes.
func unpickle(data []byte, lib library) (object any, length int, err error) {
	m := &pickleMachine{
		library: lib, program: data[:min(len(data), maxPickle)], memo: map[uint32]any{},
	}
	for range maxSteps {
		start := m.at
		op := byte(m.uint(1))
		if m.err == nil && op == opStop {
			object = m.pop()
			if m.err == nil {
				return object, m.at, nil
			}
		}
		if m.err == nil {
			m.step(op)
		}
		if m.err != nil {
			return nil, 0, fmt.Errorf("pickle: byte %d: %w", start, m.err)
		}
	}
	return nil, 0, fmt.Errorf("pickle: more than %d opcodes: too long for a state dict", maxSteps)
}

const opProto, opStop = 0x80, '.'

// literal is what an opcode pushes that says what it is by itself.
func (m *pickleMachine) literal(op byte) (value any, ok bool) {
	switch op {
	case 'N': // NONE
		return nil, true
	case 0x88: // NEWTRUE
		return true, true
	case 0x89: // NEWFALSE
		return false, true
	case 'K': // BININT1
		return int64(m.uint(1)), true
	case 'M': // BININT2
		return int64(m.uint(2)), true
	case 'J': // BININT
		return int64(int32(m.uint(4))), true
	case 0x8a: // LONG1
		return integer(m.take(m.uint(1))), true
	case 'G': // BINFLOAT: the one big-endian number
		return math.Float64frombits(bits.ReverseBytes64(m.uint(8))), true
	case 0x8c, 'C': // SHORT_BINUNICODE, SHORT_BINBYTES
		return string(m.take(m.uint(1))), true
	case 'X', 'B': // BINUNICODE, BINBYTES
		return string(m.take(m.uint(4))), true
	case ')': // EMPTY_TUPLE
		return pyTuple(nil), true
	case ']', 0x8f: // EMPTY_LIST, EMPTY_SET: nobody asks what a set holds
		return &pyList{}, true
	case '}': // EMPTY_DICT
		return &pyDict{}, true
	}
	return nil, false
}

func (m *pickleMachine) step(op byte) {
	switch op {
	case opProto:
		if version := m.uint(1); version < 2 || version > 5 {
			m.fail("protocol %d: only 2 to 5 are known", version)
		}
	case 0x95: // FRAME: how many bytes a reader may fetch at once; they are all here
		m.uint(8)
	case '(': // MARK
		m.marks = append(m.marks, len(m.stack))
	case 0x85, 0x86, 0x87: // TUPLE1, TUPLE2, TUPLE3
		m.push(pyTuple(m.popN(int(op) - 0x84)))
	case 't': // TUPLE
		m.push(pyTuple(m.popMark()))

	case 'a': // APPEND
		m.extend(m.popN(1))
	case 'e', 0x90: // APPENDS, ADDITEMS
		m.extend(m.popMark())
	case 0x91: // FROZENSET
		m.push(&pyList{m.popMark()})
	case 's': // SETITEM
		m.setItems(m.popN(2))
	case 'u': // SETITEMS
		m.setItems(m.popMark())

	case 'q': // BINPUT
		m.memo[uint32(m.uint(1))] = m.top()
	case 'r': // LONG_BINPUT
		m.memo[uint32(m.uint(4))] = m.top()
	case 0x94: // MEMOIZE
		m.memo[uint32(len(m.memo))] = m.top()
	case 'h': // BINGET
		m.recall(uint32(m.uint(1)))
	case 'j': // LONG_BINGET
		m.recall(uint32(m.uint(4)))

	case 'c': // GLOBAL
		module := m.line()
		m.find(module, m.line())
	case 0x93: // STACK_GLOBAL: the same with the two names on the stack
		name, module := m.pop(), m.pop()
		m.find(module, name)
	case 'R': // REDUCE
		args, function := m.pop(), m.pop()
		m.call(function, args)
	case 0x81: // NEWOBJ
		args, class := m.pop(), m.pop()
		m.newObject(class, args)
	case 'b': // BUILD
		attributes := m.pop()
		m.build(m.top(), attributes)
	case 'Q': // BINPERSID
		value, err := m.persistent(m.pop())
		if err != nil {
			m.fail("%w", err)
		}
		m.push(value)

	default:
		value, ok := m.literal(op)
		if !ok {
			m.fail("opcode 0x%02x is not one that a state dict needs", op)
		}
		m.push(value)
	}
}

func (m *pickleMachine) find(module, name any) {
	moduleText, ok1 := module.(string)
	nameText, ok2 := name.(string)
	if !ok1 || !ok2 {
		m.fail("a name is made of %s and %s", pyKind(module), pyKind(name))
		return
	}
	m.push(pyName(moduleText + "." + nameText))
}

// call pushes function(*args), for a function that the library knows; any other ends the program.
func (m *pickleMachine) call(function, args any) {
	name, ok1 := function.(pyName)
	arguments, ok2 := args.(pyTuple)
	if !ok1 || !ok2 {
		m.fail("%s is called with %s", pyKind(function), pyKind(args))
		return
	}
	known, ok := m.functions[name]
	if !ok {
		m.fail("it calls %.100q, which no state dict needs; nothing was run. Save the state dict "+
			"alone, where the file came from: torch.save(model.state_dict(), FILE)", string(name))
		return
	}
	value, err := known(arguments)
	if err != nil {
		m.fail("%s: %w", name, err)
		return
	}
	m.push(value)
}

// newObject pushes an object of a class, without what Python would hand to the class.
func (m *pickleMachine) newObject(class, args any) {
	name, ok1 := class.(pyName)
	_, ok2 := args.(pyTuple)
	if !ok1 || !ok2 {
		m.fail("an object of %s is made from %s", pyKind(class), pyKind(args))
		return
	}
	m.push(&pyDict{class: name})
}

// build sets the attributes of an object: from a dict, or from a pair of dicts of which the second
// holds those that have slots. Nothing needs those of a plain dict, such as a module's state dict
// with the versions of the modules that wrote it, or what else a class may take for its state.
func (m *pickleMachine) build(object, state any) {
	d, ok := object.(*pyDict)
	if !ok {
		m.fail("attributes of %s are set from %s", pyKind(object), pyKind(state))
		return
	}
	parts, ok := state.(pyTuple)
	if !ok {
		parts = pyTuple{state}
	}
	for _, part := range parts[:min(len(parts), 2)] {
		const most = 8 // Python's pickler does so once
		if attributes, ok := part.(*pyDict); ok && d.class != "" && len(d.state) < most {
			d.state = append(d.state, attributes)
		}
	}
}

// get is d[key], or the attribute of that name.
func (d *pyDict) get(key string) (value any, ok bool) {
	if value, ok = d.values[key]; ok {
		return value, true
	}
	for i := len(d.state) - 1; i >= 0 && !ok; i-- {
		value, ok = d.state[i].values[key]
	}
	return value, ok
}

func orderedDict(args pyTuple) (any, error) {
	if len(args) != 0 {
		return nil, fmt.Errorf("%d arguments, not 0", len(args))
	}
	return &pyDict{}, nil
}

func (m *pickleMachine) extend(items []any) {
	if d, ok := m.top().(*pyDict); ok && d.class != "" {
		return // an object that is a list, too
	}
	l, ok := m.top().(*pyList)
	if !ok {
		m.fail("items are appended to %s", pyKind(m.top()))
		return
	}
	l.items = append(l.items, items...)
}

// setItems puts key, value, key, value, … into the dict on top of the stack.
func (m *pickleMachine) setItems(items []any) {
	d, ok := m.top().(*pyDict)
	if !ok || len(items)%2 != 0 {
		m.fail("%d keys and values are set in %s", len(items), pyKind(m.top()))
		return
	}
	for ; len(items) > 0; items = items[2:] {
		d.set(items[0], items[1])
	}
}

// set is d[key] = value. A key that Go cannot look up, such as a tuple, is left out: a state dict's
// keys are strings, an optimizer's also integers.
func (d *pyDict) set(key, value any) {
	switch key.(type) {
	case nil, bool, int64, float64, string, longInt, pyName:
	default:
		return
	}
	if d.values == nil {
		d.values = map[any]any{}
	}
	if _, ok := d.values[key]; !ok {
		d.keys = append(d.keys, key)
	}
	d.values[key] = value
}

func (m *pickleMachine) recall(slot uint32) {
	value, ok := m.memo[slot]
	if !ok {
		m.fail("memo slot %d is empty", slot)
	}
	m.push(value)
}

func (m *pickleMachine) push(value any) {
	m.stack = append(m.stack, value)
}

// top returns the object on top of the stack. What lies below the last mark belongs to the opcode
// that will take the mark.
func (m *pickleMachine) top() any {
	if len(m.stack) == m.floor() {
		m.fail("the stack is empty")
		return nil
	}
	return m.stack[len(m.stack)-1]
}

func (m *pickleMachine) pop() any {
	value := m.top()
	if m.err == nil {
		m.stack = m.stack[:len(m.stack)-1]
	}
	return value
}

func (m *pickleMachine) popN(n int) []any {
	at := len(m.stack) - n
	if at < m.floor() {
		m.fail("the stack is too short")
		return nil
	}
	items := slices.Clone(m.stack[at:])
	m.stack = m.stack[:at]
	return items
}

// popMark pops everything above the last mark, and the mark.
func (m *pickleMachine) popMark() []any {
	if len(m.marks) == 0 {
		m.fail("there is no mark")
		return nil
	}
	items := m.popN(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return items
}

func (m *pickleMachine) floor() int {
	if len(m.marks) == 0 {
		return 0
	}
	return m.marks[len(m.marks)-1]
}

func (m *pickleMachine) take(n uint64) []byte {
	if n > uint64(len(m.program)-m.at) {
		m.fail("the pickle ends in the middle")
		return nil
	}
	b := m.program[m.at : m.at+int(n)]
	m.at += int(n)
	return b
}

// uint reads a little-endian integer of size bytes, at most 8.
func (m *pickleMachine) uint(size uint64) uint64 {
	var n uint64
	for i, c := range m.take(size) {
		n |= uint64(c) << (8 * i)
	}
	return n
}

// line reads a name up to the end of its line.
func (m *pickleMachine) line() string {
	const longest = 1000
	rest := m.program[m.at:]
	end := bytes.IndexByte(rest[:min(len(rest), longest)], '\n')
	if end < 0 {
		m.fail("a name has no end")
		return ""
	}
	m.at += end + 1
	return string(rest[:end])
}

func (m *pickleMachine) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
}

// integer is a little-endian integer in two's complement, of any length.
func integer(b []byte) any {
	if len(b) > 8 {
		return longInt(b)
	}
	var n int64
	for i, c := range b {
		n |= int64(c) << (8 * i)
	}
	unused := 64 - 8*len(b)
	return n << unused >> unused // extends the sign
}

func pyKind(value any) string {
	switch v := value.(type) {
	case nil:
		return "None"
	case bool:
		return "a bool"
	case int64, longInt:
		return "an integer"
	case float64:
		return "a float"
	case string:
		return "a string"
	case pyTuple:
		return "a tuple"
	case *pyList:
		return "a list"
	case *pyDict:
		if v.class != "" {
			return fmt.Sprintf("an object of the class %.100q", string(v.class))
		}
		return "a dict"
	case pyName:
		return fmt.Sprintf("%.100q", string(v))
	}
	return fmt.Sprint(value)
}
