package main

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strings"
)

// PyTorch's files (pytorch_model.bin, *.pt, *.pth), as torch.save writes them. There are two forms;
// both hold a pickle that describes the tensors, and beside it the numbers in storages, flat arrays
// to which the pickle refers by a key. A tensor is a view of a storage: an offset, a shape, and a
// stride for each dimension, so that a transposed tensor or two tensors in one storage are no copy.
//
//	since 1.6, a zip file, nothing in it compressed, the storages at multiples of 64 bytes:
//	    NAME/data.pkl, NAME/byteorder (newer ones), NAME/data/KEY for each storage, NAME/version
//
//	before, and on request since, five pickles and the storages one after the other:
//	    a magic number, the version of the form (1001), facts about the machine, the object, the
//	    list of the storages' keys;
//	    then for each key the count of its elements in 8 bytes, and the elements
//
// The form is that of torch/serialization.py in PyTorch's sources. The second half of this file is
// the machine that reads pickles.

const zipMagic = "PK\x03\x04"

// isTorch tells whether a file that begins with head, nine bytes or more, is a zip file or a
// pickle. A safetensors file with a header of 640 bytes begins like a pickle of protocol 2, but its
// ninth byte is {.
func isTorch(head []byte) bool {
	isPickle := len(head) >= 9 && head[0] == opProto && head[1] >= 2 && head[1] <= 5 &&
		head[8] != '{'
	return isPickle || bytes.HasPrefix(head, []byte(zipMagic))
}

// parseTorch returns what a PyTorch file holds as a tree, see plainTree. Its tensors are *strided,
// views of data.
func parseTorch(data []byte) (tree map[string]any, err error) {
	defer catchFault(&err)
	read := readStream
	if bytes.HasPrefix(data, []byte(zipMagic)) {
		read = readZip
	}
	storages := map[string]*storage{}
	object := read(data, storages)
	for _, key := range sortedKeys(storages) {
		s := storages[key]
		require(len(s.data) == s.count*s.size, "storage %s has %d bytes: its %d elements need %d",
			quote(key), len(s.data), s.count, s.count*s.size)
	}
	return plainTree(object), nil
}

// parsePickle returns what a pickle by itself holds, as a tree.
func parsePickle(data []byte) (tree map[string]any, err error) {
	defer catchFault(&err)
	object, _ := unpickle(data, map[string]*storage{})
	return plainTree(object), nil
}

const saveAlone = "save the state dict alone, where the file came from: " +
	"torch.save(model.state_dict(), FILE)"

func readZip(data []byte, storages map[string]*storage) (object any) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	require(err == nil || errors.Is(err, zip.ErrInsecurePath),
		"not a whole PyTorch file: it was cut short, or is damaged")
	entries, folder := map[string]*zip.File{}, ""
	for _, f := range archive.File {
		require(entries[f.Name] == nil, "zip entry %s is there twice", quote(f.Name))
		entries[f.Name] = f
		parent, name, _ := strings.Cut(f.Name, "/")
		require(name != "archive_format" && name != "constants.pkl", "this is an exported "+
			"program (torch.export, TorchScript), not weights alone: %s", saveAlone)
		if name == "data.pkl" {
			folder = max(folder, parent+"/")
		}
	}
	require(folder != "", "a zip file, but not PyTorch's: there is no data.pkl in it")
	order := entries[folder+"byteorder"]
	require(order == nil || string(zipContent(order, data)) == "little",
		"its byte order is another: only little-endian files are read")
	object, _ = unpickle(zipContent(entries[folder+"data.pkl"], data), storages)
	for key, s := range storages {
		if entry := entries[folder+"data/"+key]; entry != nil {
			s.data = zipContent(entry, data)
		}
	}
	return object
}

// zipContent returns an entry of the zip file in data, where it lies: PyTorch neither compresses
// nor encrypts. As in torch.load, checksums are not looked at: torch.save can be told to leave them
// out.
func zipContent(f *zip.File, data []byte) []byte {
	const encrypted = 1
	start, err := f.DataOffset()
	size, end := f.UncompressedSize64, int64(len(data))
	require(f.Flags&encrypted == 0 && f.Method == zip.Store && f.CompressedSize64 == size &&
		err == nil && start >= 0 && start <= end && size <= uint64(end-start),
		"zip entry %s: compressed or encrypted, which PyTorch never does, or damaged: pack the "+
			"file again without compression (zip -0)", quote(f.Name))
	return data[start:][:size:size]
}

func readStream(data []byte, storages map[string]*storage) (object any) {
	const magic = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" // 0x1950a86a20f9469cfc6c
	const version = int64(1001)
	next := func() (object any) {
		object, data = unpickle(data, storages)
		return object
	}
	require(next() == any(magic), "a pickle, but not a file of torch.save: it does not begin with "+
		"PyTorch's magic number")
	require(next() == any(version), "an unknown version of the stream form: only %d is known",
		version)
	machine, _ := next().(pyDict)
	require(machine["little_endian"] == true,
		"it does not say little_endian: only little-endian files are read")
	object = next()
	keys, ok := next().(pyList)
	require(ok, "it has no list of its storages")
	for _, item := range *keys {
		key, _ := item.(string)
		s := storages[key]
		require(s != nil, "storage %s belongs to no tensor", quote(key))
		require(len(data) >= 8 && binary.LittleEndian.Uint64(data) <= uint64((len(data)-8)/s.size),
			"the file ends in storage %s", quote(key))
		end := 8 + s.size*int(binary.LittleEndian.Uint64(data))
		s.data, data = data[8:end], data[end:]
	}
	return object
}

// A storage is a flat array of numbers beside the pickle.
type storage struct {
	format      string // in safetensors' terms
	size, count int    // bytes of an element, elements; their product does not overflow
	data        []byte // where the file holds it, once that is known
}

// storageFormats are the number formats of PyTorch's storage classes in safetensors' terms.
var storageFormats = map[pyName]string{
	"torch.FloatStorage": "F32", "torch.HalfStorage": "F16", "torch.BFloat16Storage": "BF16",
	"torch.DoubleStorage": "F64",
	// what masks may be made of
	"torch.ByteStorage": "U8", "torch.BoolStorage": "BOOL", "torch.CharStorage": "I8",
	"torch.ShortStorage": "I16", "torch.IntStorage": "I32", "torch.LongStorage": "I64",
}

// A strided tensor is a view of a storage: element [i, j, …] is the storage's element offset +
// i·stride[0] + j·stride[1] + …, which lies in it.
type strided struct {
	storage       *storage
	offset        int
	shape, stride []int
	rowMajor      bool // the elements lie one after the other
}

// tensorsOf returns the tensors of a state dict, in row-major order. Numbers of other strides are
// copied, the others stay where they are in the file. size is the file's: a few bytes may describe
// a view of any size, but the copies of a real file are no larger than it is.
func tensorsOf(state map[string]any, size int) (tensors []Tensor, err error) {
	defer catchFault(&err)
	for _, name := range sortedKeys(state) {
		v, ok := state[name].(*strided)
		if !ok {
			continue
		}
		within("tensor "+quote(name), func() {
			length := get(sizeOf(v.storage.format, v.shape))
			var data []byte
			switch {
			case length == 0:
			case v.rowMajor:
				data = v.storage.data[v.offset*v.storage.size:][:length:length]
			default:
				require(length <= size, "the strided tensors together are larger than the file: "+
					"save them as contiguous()")
				size -= length
				try(enoughMemory(uint64(length), "its copy in row-major order"))
				data = v.gather(make([]byte, 0, length), v.offset, 0)
			}
			tensors = append(tensors, Tensor{name, v.storage.format, v.shape, data})
		})
	}
	return tensors, nil
}

// gather appends, in row-major order, what the dimensions from axis on hold of a view's elements,
// the first of which is the storage's element at.
func (v *strided) gather(out []byte, at, axis int) []byte {
	if axis == len(v.shape) {
		return append(out, v.storage.data[at*v.storage.size:][:v.storage.size]...)
	}
	for i := range v.shape[axis] {
		out = v.gather(out, at+i*v.stride[axis], axis+1)
	}
	return out
}

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
// pickle is to run it: GLOBAL os.system and REDUCE ('…') are all that an attacker needs. And a list
// of ten references to a list of ten references, and so on, unfolds into more objects than any
// memory holds.
//
// This machine is safe because of what it cannot do. A name is a string to it. It knows the few
// functions that a state dict needs, and a call of any other ends the program, as does an opcode
// that torch.save does not write. An object of a class (NEWOBJ, BUILD) becomes a dict of its
// attributes. The machine never looks into what it has built, and a program may be no longer than
// maxSteps opcodes, each of which makes at most one small object. (The opcodes: Python's own
// pickletools module.)
type pickleMachine struct {
	rest     []byte  // of the program
	steps    int     // done so far
	stack    []any   // what lies above the last mark,
	below    [][]any // and what below it and each one before
	memo     map[uint64]any
	storages map[string]*storage // those that the pickle has named, by key
}

// What is on the stack is nil, a bool, int64, float64 or string, *storage, *strided, or
type (
	pyTuple = []any
	pyList  = *[]any
	pyDict  = map[string]any // keys as text; also an object's attributes
	pyName  string           // of a function or class
)

const ( // keys of an object's attributes
	className      = "__class__"
	valuesName     = "__values__" // what it holds that has no name
	itemsName      = "__items__"  // of one that is a list, too
	attributesName = "__dict__"   // of a plain dict, such as an OrderedDict
)

// maxSteps is how many opcodes a pickle may have: GPT-2 XL's state dict has some 25,000.
var maxSteps = 1 << 20

const (
	maxPickle = 64 << 20 // bytes in a pickle
	opProto   = 0x80
	opStop    = '.'
)

// unpickle runs the pickle at the beginning of data, and returns its object, and the data that
// follow it. The storages that it names come to storages.
func unpickle(data []byte, storages map[string]*storage) (object any, rest []byte) {
	program := data[:min(len(data), maxPickle)]
	m := &pickleMachine{rest: program, memo: map[uint64]any{}, storages: storages}
	at := 0
	err := caught(func() {
		for op := byte(opProto); op != opStop; m.steps++ {
			require(m.steps <= maxSteps, "more than %d opcodes: too long for a state dict",
				maxSteps)
			at = len(program) - len(m.rest)
			op = m.take(1)[0]
			m.do(op, m.uint(numbers[op]), m.pop(operands[op]))
		}
	})
	if err != nil {
		fail("pickle: byte %d: %w", at, err)
	}
	return m.top(), data[len(program)-len(m.rest):]
}

// An opcode may be followed by a number of so many bytes, and take so many values from the stack;
// toMark is all that lie above the last mark.
var (
	numbers = [256]uint64{opProto: 1, 'K': 1, 0x8a: 1, 0x8c: 1, 'C': 1, 'q': 1, 'h': 1, 'M': 2,
		'J': 4, 'X': 4, 'B': 4, 'r': 4, 'j': 4, 'G': 8, 0x95: 8}
	operands = [256]int{'a': 1, 'b': 1, 'Q': 1, 0x85: 1, 's': 2, 'R': 2, 0x81: 2, 0x86: 2, 0x93: 2,
		0x87: 3, 't': toMark, 'e': toMark, 'u': toMark, 0x90: toMark, 0x91: toMark}
)

const toMark = -1

// do carries out an opcode; n is the number that follows it, and items are what it takes.
func (m *pickleMachine) do(op byte, n uint64, items []any) {
	switch op {
	case opProto, 0x95: // PROTO: opcodes of later ones are refused; FRAME: a hint to readers
	case opStop: // STOP
		m.top()
	case 'N': // NONE
		m.push(nil)
	case 0x88, 0x89: // NEWTRUE, NEWFALSE
		m.push(op == 0x88)
	case 'K', 'M': // BININT1, BININT2
		m.push(int64(n))
	case 'J': // BININT
		m.push(int64(int32(n)))
	case 0x8a: // LONG1: n bytes; more than 8, with which nobody counts, remain bytes
		if unused := 64 - 8*n; n > 8 {
			m.push(string(m.take(n)))
		} else {
			m.push(int64(m.uint(n)<<unused) >> unused) // extends the sign
		}
	case 'G': // BINFLOAT, which is big-endian
		m.push(math.Float64frombits(bits.ReverseBytes64(n)))
	case 0x8c, 'X', 'C', 'B': // SHORT_BINUNICODE, BINUNICODE, SHORT_BINBYTES, BINBYTES
		m.push(string(m.take(n)))
	case '(': // MARK
		m.below, m.stack = append(m.below, m.stack), nil
	case ')': // EMPTY_TUPLE
		m.push(pyTuple{})
	case 0x85, 0x86, 0x87, 't', 0x91: // TUPLE1, TUPLE2, TUPLE3, TUPLE, FROZENSET
		m.push(items)
	case ']', 0x8f: // EMPTY_LIST, EMPTY_SET
		m.push(new([]any))
	case 'a', 'e', 0x90: // APPEND, APPENDS, ADDITEMS
		m.extend(items)
	case '}': // EMPTY_DICT
		m.push(pyDict{})
	case 's', 'u': // SETITEM, SETITEMS
		m.setItems(items)
	case 'q', 'r': // BINPUT, LONG_BINPUT
		m.memo[n] = m.top()
	case 0x94: // MEMOIZE
		m.memo[uint64(len(m.memo))] = m.top()
	case 'h', 'j': // BINGET, LONG_BINGET
		value, ok := m.memo[n]
		require(ok, "memo slot %d is empty", n)
		m.push(value)
	case 'c', 0x93: // GLOBAL, of which each is a line, and STACK_GLOBAL: a module and a name
		if op == 'c' {
			items = []any{m.line(), m.line()}
		}
		name := arg[string](items[0]) + "." + arg[string](items[1])
		m.steps += len(name) >> 8 // the work of joining long ones, again and again
		m.push(pyName(name))
	case 'R': // REDUCE
		m.push(m.reduce(arg[pyName](items[0]), arg[pyTuple](items[1])))
	case 0x81: // NEWOBJ: with what Python would hand to the class, such as a named tuple's values
		object := pyDict{className: string(arg[pyName](items[0]))}
		if args := arg[pyTuple](items[1]); len(args) > 0 {
			object[valuesName] = args
		}
		m.push(object)
	case 'b': // BUILD
		m.build(items[0])
	case 'Q': // BINPERSID
		m.push(m.persistent(items[0]))
	default:
		fail("opcode 0x%02x is not one that a state dict needs", op)
	}
}

// reduce is function(*args), for a function that the machine knows, which are those that a state
// dict needs, or what trainers keep beside it; any other ends the program. Of objects that hold no
// weights nothing is kept.
func (m *pickleMachine) reduce(function pyName, args pyTuple) any {
	switch function {
	case "torch._utils._rebuild_tensor_v2":
		return newStrided(args)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
		return arg[*strided](pyTupleOf(args, 3, 4)[0]) // requires_grad, hooks; attributes
	case "torch._tensor._rebuild_from_type_v2":
		inner := pyTupleOf(args, 4, 4) // function, class, arguments, attributes
		class := arg[pyName](inner[1])
		require(class != "torch.distributed.tensor.DTensor", "a tensor that is spread over "+
			"processes (DTensor): save its full_tensor(), or the state dict of "+
			"get_model_state_dict with full_state_dict=True")
		require(class == "torch.Tensor" || class == "torch.nn.parameter.Parameter", "a tensor of "+
			"the class %s, not a plain one: save plain ones, such as its dequantize() or "+
			"detach().clone()", quote(string(class)))
		m.steps++ // one may stand within another
		return m.reduce(arg[pyName](inner[0]), arg[pyTuple](inner[2]))
	case "collections.OrderedDict":
		pyTupleOf(args, 0, 0)
		return pyDict{}
	case "collections.defaultdict", "collections.Counter":
		return pyDict{}
	case "__builtin__.set", "__builtin__.frozenset", "builtins.set", "_codecs.encode":
		return append(args, nil)[0]
	case "datetime.datetime", "datetime.timedelta", "torch.serialization._get_layout",
		"torch.Size", "torch.device":
		return nil
	}
	fail("it calls %s, which no state dict needs; nothing was run: %s", quote(string(function)),
		saveAlone)
	return nil
}

// persistent is what BINPERSID means in a PyTorch file. The id is ("storage", class, key, device,
// count of elements); the older form adds None, or what makes the storage a part of another one.
func (m *pickleMachine) persistent(value any) any {
	id := pyTupleOf(value, 4, 6)
	if len(id) == 4 && id[0] == "module" { // a class with its source, before version 1.6
		return id[1]
	}
	require(len(id) > 4 && id[0] == "storage", "a persistent id that is not a storage's")
	class, key := arg[pyName](id[1]), arg[string](id[2])
	s := &storage{format: storageFormats[class], count: pyCount(id[4])}
	s.size = formatBits[s.format] / 8
	known := cmp.Or(m.storages[key], s)
	require(s.size > 0, "storage %s is of %s, numbers of a quantized model (float8, qint8) or "+
		"none: save the weights as float32, float16 or bfloat16", quote(key), quote(string(class)))
	require(len(id) == 5 || id[5] == nil, "storage %s is a part of another one, as only old "+
		"versions of PyTorch wrote it: load and save it again with a newer one", quote(key))
	require(known.format == s.format && known.count == s.count,
		"storage %s is described in two ways", quote(key))
	m.storages[key] = known
	return known
}

// newStrided stands for torch._utils._rebuild_tensor_v2(storage, offset, shape, stride,
// requires_grad, hooks, metadata), the last of which newer versions have.
func newStrided(args pyTuple) *strided {
	pyTupleOf(args, 6, 7)
	s, offset := arg[*storage](args[0]), pyCount(args[1])
	shape := pyCounts(args[2], 0, 8) // PyTorch's usual ones are no longer
	stride := pyCounts(args[3], len(shape), len(shape))
	require(len(args) == 6 || args[6] == nil || len(arg[pyDict](args[6])) == 0,
		"a negated or conjugated view: save the tensor's clone()")
	v := &strided{s, offset, shape, stride, true}
	last, fits := offset, offset < s.count // where the last element is in the storage
	next := 1                              // the stride of row-major order
	for i, n := range slices.Backward(shape) {
		if n > 1 && fits {
			fits = stride[i] <= (s.count-1-last)/(n-1)
			last += (n - 1) * stride[i]
			v.rowMajor = v.rowMajor && stride[i] == next
			next *= n
		}
	}
	require(fits || slices.Contains(shape, 0), "shape %d with strides %d from %d does not fit "+
		"into a storage of %d elements", shape, stride, offset, s.count)
	return v
}

// build sets the attributes of an object: from a dict, or from a pair of dicts of which the second
// holds those that have slots; what else a class may take for its state is kept as its values.
// Those of a plain dict, such as a state dict with the versions of the modules that wrote it, are
// kept apart from what it holds.
func (m *pickleMachine) build(state any) {
	object := arg[pyDict](m.top())
	if object[className] == nil {
		object[attributesName] = state
		return
	}
	parts, ok := state.(pyTuple)
	if !ok {
		parts = pyTuple{state}
	}
	for _, part := range parts {
		attributes, ok := part.(pyDict)
		if !ok && part != nil {
			object[valuesName] = state
		}
		m.steps += len(attributes) + 1 // which bounds what a program can ask for
		maps.Copy(object, attributes)
	}
}

// extend appends to the list on top of the stack, or to what is a list of an object's.
func (m *pickleMachine) extend(items []any) {
	list := m.top()
	if object, ok := list.(pyDict); ok && object[className] != nil {
		object[itemsName] = cmp.Or(object[itemsName], any(new([]any)))
		list = object[itemsName]
	}
	to := arg[pyList](list)
	*to = append(*to, items...)
}

// setItems puts key, value, key, value, … into the dict on top of the stack. A key that is no
// simple value, such as a tuple, becomes "key 0", "key 1", …
func (m *pickleMachine) setItems(items []any) {
	d := arg[pyDict](m.top())
	require(len(items)%2 == 0, "%d keys and values", len(items))
	for item := range slices.Chunk(items, 2) {
		switch key := item[0].(type) {
		case string:
			m.steps += len(key) >> 8 // the work of looking up a long one, again and again
			d[key] = item[1]
		case nil, bool, int64, float64:
			d[fmt.Sprint(key)] = item[1]
		default:
			d[fmt.Sprint("key ", len(d))] = item[1]
		}
	}
}

// arg is a value that must be of the type T.
func arg[T any](value any) T {
	t, ok := value.(T)
	if !ok {
		fail("%s in place of %s", pyKind(value), pyKind(t))
	}
	return t
}

// pyTupleOf is a tuple that must have so many values.
func pyTupleOf(value any, least, most int) pyTuple {
	t := arg[pyTuple](value)
	n := len(t)
	require(least <= n && n <= most, "a tuple of %d, not of %d to %d", n, least, most)
	return t
}

// pyCount is an integer that is not negative, small enough for a count of bytes of such elements.
func pyCount(value any) int {
	n := arg[int64](value)
	require(0 <= n && n <= math.MaxInt/8, "%d is no count", n)
	return int(n)
}

func pyCounts(value any, least, most int) (n []int) {
	for _, item := range pyTupleOf(value, least, most) {
		n = append(n, pyCount(item))
	}
	return n
}

func (m *pickleMachine) push(value any) { m.stack = append(m.stack, value) }

// top returns the object on top of the stack. What lies below the last mark belongs to the opcode
// that will take the mark.
func (m *pickleMachine) top() any {
	require(len(m.stack) > 0, "the stack is empty")
	return m.stack[len(m.stack)-1]
}

// pop takes n values from the stack.
func (m *pickleMachine) pop(n int) (items []any) {
	if n == toMark {
		last := len(m.below) - 1
		require(last >= 0, "there is no mark")
		items, m.stack, m.below = m.stack, m.below[last], m.below[:last]
		return items
	}
	at := len(m.stack) - n
	require(at >= 0, "the stack is too short")
	items = slices.Clone(m.stack[at:])
	m.stack = m.stack[:at]
	return items
}

func (m *pickleMachine) take(n uint64) (taken []byte) {
	require(n <= uint64(len(m.rest)), "the pickle ends in the middle")
	taken, m.rest = m.rest[:n], m.rest[n:]
	return taken
}

// line is a text up to the end of its line.
func (m *pickleMachine) line() string {
	line, rest, ok := bytes.Cut(m.rest, []byte("\n"))
	require(ok, "a name has no end")
	m.rest = rest
	return string(line)
}

// uint is a little-endian integer of size bytes, at most 8.
func (m *pickleMachine) uint(size uint64) uint64 {
	var number [8]byte
	copy(number[:], m.take(size))
	return binary.LittleEndian.Uint64(number[:])
}

// plainTree is what the machine has made as JSON would have it: dicts and lists; an object is a
// dict of its attributes. What occurs twice stands where it is met first, in the order of the keys:
// a few bytes may unfold into more than any memory holds.
func plainTree(object any) map[string]any {
	const deepest = 100
	seen := map[uintptr]bool{}
	var plain func(value any, depth int) any
	plain = func(value any, depth int) any {
		if list, ok := value.(pyList); ok {
			value = *list
		}
		dict, isDict := value.(pyDict)
		items, _ := value.([]any)
		if !isDict && len(items) == 0 {
			return value
		}
		require(depth <= deepest, "what it holds is nested more than %d deep", deepest)
		at := reflect.ValueOf(value).Pointer()
		if seen[at] {
			return nil
		}
		seen[at] = true
		for _, key := range sortedKeys(dict) {
			dict[key] = plain(dict[key], depth+1)
		}
		for i, item := range items {
			items[i] = plain(item, depth+1)
		}
		if inner, ok := dict["_val"]; ok { // a value of OmegaConf's
			return inner
		}
		return value
	}
	tree, ok := plain(object, 0).(map[string]any)
	require(ok, "it holds %s, not a state dict", pyKind(object))
	return tree
}

func pyKind(value any) string {
	return cmp.Or(map[string]string{"[]interface {}": "a tuple", "*[]interface {}": "a list",
		"map[string]interface {}": "a dict", "main.pyName": "a name", "string": "text",
		"*main.storage": "a storage", "*main.strided": "a tensor",
	}[fmt.Sprintf("%T", value)], "a plain value")
}
