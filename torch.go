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
	if bytes.HasPrefix(data, []byte(zipMagic)) {
		return plainTree(parseTorchZip(data)), nil
	}
	return plainTree(parseTorchStream(data)), nil
}

// parsePickle returns what a pickle by itself holds, as a tree.
func parsePickle(data []byte) (tree map[string]any, err error) {
	defer catchFault(&err)
	object, _ := unpickle(data, map[string]*storage{})
	return plainTree(object), nil
}

func parseTorchZip(data []byte) (object any) {
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		fail("not a whole PyTorch file: it was cut short, or is damaged")
	}
	entries, folder := map[string]*zip.File{}, ""
	for _, f := range archive.File {
		if entries[f.Name] != nil {
			fail("zip entry %s is there twice", quote(f.Name))
		}
		entries[f.Name] = f
		parent, name, _ := strings.Cut(f.Name, "/")
		switch {
		case name == "data.pkl":
			folder = max(folder, parent+"/")
		case name == "archive_format":
			fail("this is an exported program (torch.export), not weights alone: save it again " +
				"where it came from, as torch.save(program.state_dict, FILE)")
		case name == "constants.pkl":
			fail("this is a TorchScript program, not weights alone: save it again where it came " +
				"from, as torch.save(model.state_dict(), FILE)")
		case strings.HasSuffix(f.Name, ".npy"):
			fail("this is a NumPy file (npz): only safetensors and PyTorch files can be read")
		}
	}
	if folder == "" {
		fail("a zip file, but not PyTorch's: there is no data.pkl in it")
	}
	if order := entries[folder+"byteorder"]; order != nil {
		if order := zipContent(order, data); string(order) != "little" {
			fail("its byte order is %s: only little-endian files are read", quote(string(order)))
		}
	}
	storages := map[string]*storage{}
	object, _ = unpickle(zipContent(entries[folder+"data.pkl"], data), storages)
	for _, key := range sortedKeys(storages) {
		entry, s := entries[folder+"data/"+key], storages[key]
		if entry == nil {
			fail("storage %s is missing", quote(key))
		}
		if s.data = zipContent(entry, data); len(s.data) != s.count*s.size {
			fail("storage %s has %d bytes: its %d elements need %d", quote(key), len(s.data),
				s.count, s.count*s.size)
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
	size, length := f.UncompressedSize64, int64(len(data))
	switch {
	case f.Flags&encrypted != 0 || f.Method != zip.Store || f.CompressedSize64 != size:
		fail("zip entry %s: compressed or encrypted, which PyTorch never does: pack the file "+
			"again without compression (zip -0)", quote(f.Name))
	case err != nil || start < 0 || start > length || size > uint64(length-start):
		fail("zip entry %s is not where it should be: the file was cut short, or is damaged",
			quote(f.Name))
	}
	return data[start:][:size:size]
}

func parseTorchStream(data []byte) (object any) {
	const magic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19" // 0x1950a86a20f9469cfc6c
	const version = int64(1001)
	if !bytes.Contains(data[:min(len(data), 32)], []byte(magic)) {
		fail("a pickle, but not a file of torch.save: it does not begin with PyTorch's magic " +
			"number")
	}
	storages := map[string]*storage{}
	var pickles [5]any
	for i := range pickles {
		pickles[i], data = unpickle(data, storages)
	}
	if pickles[1] != any(version) {
		fail("an unknown version of the stream form: only %d is known", version)
	}
	if machine, _ := pickles[2].(pyDict); machine["little_endian"] != true {
		fail("it does not say little_endian: only little-endian files are read")
	}
	keys, ok := pickles[4].(pyList)
	if !ok {
		fail("it has no list of its storages")
	}
	for _, item := range *keys {
		key, _ := item.(string)
		s, ok := storages[key]
		switch {
		case !ok:
			fail("storage %s belongs to no tensor", quote(key))
		case len(data) < 8 || len(data)-8 < s.count*s.size:
			fail("the file ends in storage %s", quote(key))
		case binary.LittleEndian.Uint64(data) != uint64(s.count):
			fail("storage %s has %d elements where its tensors say %d", quote(key),
				binary.LittleEndian.Uint64(data), s.count)
		}
		s.data, data = data[8:][:s.count*s.size], data[8+s.count*s.size:]
	}
	for _, key := range sortedKeys(storages) {
		if storages[key].data == nil {
			fail("storage %s is missing", quote(key))
		}
	}
	return pickles[3]
}

// A storage is a flat array of numbers beside the pickle.
type storage struct {
	format      string // in safetensors' terms
	size, count int    // bytes of an element, elements; their product does not overflow
	data        []byte // where the file holds it, once that is known
}

// storageFormats are the number formats of PyTorch's storage classes in safetensors' terms. Only
// the first four hold weights; the others are what masks may be made of.
var storageFormats = map[pyName]string{
	"torch.FloatStorage":    "F32",
	"torch.HalfStorage":     "F16",
	"torch.BFloat16Storage": "BF16",
	"torch.DoubleStorage":   "F64",
	"torch.ByteStorage":     "U8",
	"torch.BoolStorage":     "BOOL",
	"torch.CharStorage":     "I8",
	"torch.ShortStorage":    "I16",
	"torch.IntStorage":      "I32",
	"torch.LongStorage":     "I64",
}

// A strided tensor is a view of a storage: element [i, j, …] is the storage's element offset +
// i·stride[0] + j·stride[1] + …, which lies in it.
type strided struct {
	storage       *storage
	offset        int
	shape, stride []int
}

// tensorsOf returns the tensors of a state dict, in row-major order. Numbers of other strides are
// copied, the others stay where they are in the file. size is the file's: tensors may share a
// storage, as tied ones do, but those of a real file are not many times the file.
func tensorsOf(state map[string]any, size int) ([]Tensor, error) {
	const most = 8
	left, copies := most*int64(size), int64(size) // bytes of all tensors, and of those copied
	var tensors []Tensor
	for _, name := range sortedKeys(state) {
		v, ok := state[name].(*strided)
		if !ok {
			continue
		}
		t := Tensor{name: name, format: v.storage.format, shape: v.shape}
		length, err := sizeOf(t.format, t.shape)
		switch {
		case err != nil || length == 0:
		case int64(length) > left:
			err = fmt.Errorf("with it the tensors, which share numbers, are more than %d times as "+
				"large as the file", most)
		case v.rowMajor():
			t.data = v.storage.data[v.offset*v.storage.size:][:length:length]
		case int64(length) > copies:
			err = errors.New("the strided tensors together are larger than the file: save them " +
				"as contiguous()")
		default:
			copies -= int64(length)
			if err = enoughMemory(uint64(length), "its copy in row-major order"); err == nil {
				t.data = v.gather(make([]byte, 0, length), v.offset, 0)
			}
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		left -= int64(length)
		tensors = append(tensors, t)
	}
	return tensors, nil
}

func (v *strided) rowMajor() bool {
	step := 1
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.stride[i] != step {
			return false
		}
		step *= v.shape[i]
	}
	return true
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
// pickle is to run it: GLOBAL os.system and REDUCE ('…') are all that an attacker needs. And a few
// dozen bytes that put a list of ten references into a list of ten references, and so on, unfold
// into more objects than a computer has memory for.
//
// This machine is safe because of what it cannot do. A name is a string to it. It knows the few
// functions that a state dict needs and stops at a call of any other. These do not run what Python
// would run: they check their arguments and note down what was asked for. An object of a class
// (NEWOBJ, BUILD) becomes a dict of its attributes. The machine never looks into an object that it
// has built, so objects that contain each other a million times cost nothing, and a program may be
// no longer than maxSteps opcodes, each of which makes at most one small object. Opcodes that
// torch.save does not write are refused.
//
// The opcodes are described in Python's own pickletools module.
type pickleMachine struct {
	program  []byte
	start    int // of the opcode
	at       int // the next byte
	steps    int // done so far
	stack    []any
	marks    []int // heights of the stack; the first is its bottom
	memo     map[uint64]any
	storages map[string]*storage // those that the pickle has named, by key
}

// What is on the stack is nil, a bool, int64, float64 or string, *storage, *strided, or
type (
	pyTuple = []any
	pyList  = *[]any
	pyDict  = map[string]any // keys as text; an object's attributes, with its class as className
	pyName  string           // of a function or class
)

// Among an object's attributes are its class, what it holds that has no name, and, of one that is a
// list too, the items. A plain dict may have attributes as well, such as an OrderedDict's.
const (
	className      = "__class__"
	valuesName     = "__values__"
	itemsName      = "__items__"
	attributesName = "__dict__"
)

const (
	maxSteps  = 1 << 20  // opcodes in a pickle: GPT-2 XL's state dict has some 25,000
	maxPickle = 64 << 20 // bytes in a pickle
	opProto   = 0x80
	opStop    = '.'
)

// unpickle runs the pickle at the beginning of data, and returns its object, and the data that
// follow it. The storages that it names come to storages.
func unpickle(data []byte, storages map[string]*storage) (object any, rest []byte) {
	m := &pickleMachine{
		program: data[:min(len(data), maxPickle)], marks: []int{0}, memo: map[uint64]any{},
		storages: storages,
	}
	for ; m.steps < maxSteps; m.steps++ {
		m.start = m.at
		op := m.take(1)[0]
		if op == opStop {
			return m.popN(1)[0], data[m.at:]
		}
		if opcodes[op] == nil {
			m.fail("opcode 0x%02x is not one that a state dict needs", op)
		}
		opcodes[op](m)
	}
	m.fail("more than %d opcodes: too long for a state dict", maxSteps)
	return nil, nil
}

func (m *pickleMachine) fail(format string, args ...any) {
	fail("pickle: byte %d: "+format, append([]any{m.start}, args...)...)
}

var opcodes = [256]func(m *pickleMachine){
	opProto: func(m *pickleMachine) { m.take(1) }, // PROTO: opcodes of later ones are refused
	0x95:    func(m *pickleMachine) { m.take(8) }, // FRAME: how many bytes may be fetched at once

	'N':  func(m *pickleMachine) { m.push(nil) },                             // NONE
	0x88: func(m *pickleMachine) { m.push(true) },                            // NEWTRUE
	0x89: func(m *pickleMachine) { m.push(false) },                           // NEWFALSE
	'K':  func(m *pickleMachine) { m.push(int64(m.uint(1))) },                // BININT1
	'M':  func(m *pickleMachine) { m.push(int64(m.uint(2))) },                // BININT2
	'J':  func(m *pickleMachine) { m.push(int64(int32(m.uint(4)))) },         // BININT
	0x8a: func(m *pickleMachine) { m.push(integer(m.take(m.uint(1)))) },      // LONG1
	'G':  func(m *pickleMachine) { m.push(bigEndianFloat(m.take(8))) },       // BINFLOAT
	0x8c: func(m *pickleMachine) { m.push(string(m.take(m.uint(1)))) },       // SHORT_BINUNICODE
	'X':  func(m *pickleMachine) { m.push(string(m.take(m.uint(4)))) },       // BINUNICODE
	'C':  func(m *pickleMachine) { m.push(string(m.take(m.uint(1)))) },       // SHORT_BINBYTES
	'B':  func(m *pickleMachine) { m.push(string(m.take(m.uint(4)))) },       // BINBYTES
	'(':  func(m *pickleMachine) { m.marks = append(m.marks, len(m.stack)) }, // MARK

	')':  func(m *pickleMachine) { m.push(pyTuple{}) },       // EMPTY_TUPLE
	0x85: func(m *pickleMachine) { m.push(m.popN(1)) },       // TUPLE1
	0x86: func(m *pickleMachine) { m.push(m.popN(2)) },       // TUPLE2
	0x87: func(m *pickleMachine) { m.push(m.popN(3)) },       // TUPLE3
	't':  func(m *pickleMachine) { m.push(m.popMark()) },     // TUPLE
	0x91: func(m *pickleMachine) { m.push(m.popMark()) },     // FROZENSET
	']':  func(m *pickleMachine) { m.push(new([]any)) },      // EMPTY_LIST
	0x8f: func(m *pickleMachine) { m.push(new([]any)) },      // EMPTY_SET
	'a':  func(m *pickleMachine) { m.extend(m.popN(1)) },     // APPEND
	'e':  func(m *pickleMachine) { m.extend(m.popMark()) },   // APPENDS
	0x90: func(m *pickleMachine) { m.extend(m.popMark()) },   // ADDITEMS
	'}':  func(m *pickleMachine) { m.push(pyDict{}) },        // EMPTY_DICT
	's':  func(m *pickleMachine) { m.setItems(m.popN(2)) },   // SETITEM
	'u':  func(m *pickleMachine) { m.setItems(m.popMark()) }, // SETITEMS

	'q':  func(m *pickleMachine) { m.memo[m.uint(1)] = m.top() },           // BINPUT
	'r':  func(m *pickleMachine) { m.memo[m.uint(4)] = m.top() },           // LONG_BINPUT
	0x94: func(m *pickleMachine) { m.memo[uint64(len(m.memo))] = m.top() }, // MEMOIZE
	'h':  func(m *pickleMachine) { m.recall(m.uint(1)) },                   // BINGET
	'j':  func(m *pickleMachine) { m.recall(m.uint(4)) },                   // LONG_BINGET
	'c':  func(m *pickleMachine) { m.find(pyTuple{m.line(), m.line()}) },   // GLOBAL
	0x93: func(m *pickleMachine) { m.find(m.popN(2)) },                     // STACK_GLOBAL
	'R':  func(m *pickleMachine) { m.reduce(m.popN(2)) },                   // REDUCE
	0x81: func(m *pickleMachine) { m.newObject(m.popN(2)) },                // NEWOBJ
	'b':  func(m *pickleMachine) { m.build(m.popN(1)[0]) },                 // BUILD
	'Q':  func(m *pickleMachine) { m.push(m.persistent(m.popN(1)[0])) },    // BINPERSID
}

// find pushes a name: module, name.
func (m *pickleMachine) find(names pyTuple) {
	module, name := arg[string](m, names[0]), arg[string](m, names[1])
	if len(module)+len(name) > longestName {
		m.fail("a name of %d bytes", len(module)+len(name))
	}
	m.push(pyName(module + "." + name))
}

// reduce pushes function(*args), for a function that the machine knows; any other ends the program.
func (m *pickleMachine) reduce(call pyTuple) {
	m.push(m.call(arg[pyName](m, call[0]), arg[pyTuple](m, call[1])))
}

// call knows what a state dict needs, or what trainers keep beside it. Of objects that hold no
// weights nothing is kept.
func (m *pickleMachine) call(function pyName, args pyTuple) any {
	switch function {
	case "torch._utils._rebuild_tensor_v2":
		return m.tensor(args)
	case "torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state":
		m.length(args, 3, 4) // tensor, requires_grad, hooks; attributes
		return arg[*strided](m, args[0])
	case "torch._tensor._rebuild_from_type_v2":
		return m.tensorOfType(args)
	case "collections.OrderedDict":
		m.length(args, 0, 0)
		return pyDict{}
	case "collections.defaultdict", "collections.Counter":
		return pyDict{}
	case "__builtin__.set", "__builtin__.frozenset", "builtins.set", "_codecs.encode":
		if len(args) > 0 {
			return args[0]
		}
		return nil
	case "datetime.datetime", "datetime.timedelta", "torch.serialization._get_layout",
		"torch.Size", "torch.device":
		return nil
	}
	m.fail("it calls %s, which no state dict needs; nothing was run. Save the state dict alone, "+
		"where the file came from: torch.save(model.state_dict(), FILE)", quote(string(function)))
	return nil
}

// persistent is what BINPERSID means in a PyTorch file. The id is ("storage", class, key, device,
// count of elements); the older form adds None, or what makes the storage a part of another one.
func (m *pickleMachine) persistent(value any) any {
	id := arg[pyTuple](m, value)
	if len(id) == 4 && id[0] == "module" { // a class with its source, before version 1.6
		return id[1]
	}
	if m.length(id, 5, 6); id[0] != "storage" {
		m.fail("a persistent id that is not a storage's")
	}
	class, key, count := arg[pyName](m, id[1]), arg[string](m, id[2]), m.count(id[4])
	s := storage{format: storageFormats[class], count: count}
	s.size = formatBits[s.format] / 8
	switch {
	case s.size == 0:
		m.fail("storage %s is of %s, numbers of a quantized model (float8, qint8) or none: save "+
			"the weights as float32, float16 or bfloat16", quote(key), quote(string(class)))
	case len(id) == 6 && id[5] != nil:
		m.fail("storage %s is a part of another one, as only old versions of PyTorch wrote it: "+
			"load and save it again with a newer one", quote(key))
	}
	known := m.storages[key]
	if known == nil {
		m.storages[key] = &s
		return &s
	}
	if known.format != s.format || known.count != s.count {
		m.fail("storage %s is described in two ways", quote(key))
	}
	return known
}

// tensor stands for torch._utils._rebuild_tensor_v2(storage, offset, shape, stride, requires_grad,
// hooks, metadata), the last of which newer versions have.
func (m *pickleMachine) tensor(args pyTuple) *strided {
	m.length(args, 6, 7)
	s, offset := arg[*storage](m, args[0]), m.count(args[1])
	shape, stride := m.counts(args[2]), m.counts(args[3])
	m.length(args[3].(pyTuple), len(shape), len(shape))
	if len(args) == 7 && args[6] != nil && len(arg[pyDict](m, args[6])) > 0 {
		m.fail("a negated or conjugated view: save the tensor's clone()")
	}
	last, fits := offset, offset < s.count // where the last element is in the storage
	for i, n := range shape {
		if n > 1 && fits {
			fits = stride[i] <= (s.count-1-last)/(n-1)
			last += (n - 1) * stride[i]
		}
	}
	if !fits && !slices.Contains(shape, 0) {
		m.fail("shape %d with strides %d from %d does not fit into a storage of %d elements", shape,
			stride, offset, s.count)
	}
	return &strided{s, offset, shape, stride}
}

// tensorOfType stands for torch._tensor._rebuild_from_type_v2(function, type, arguments, state): a
// tensor with attributes, such as FSDP's, or of a class of its own.
func (m *pickleMachine) tensorOfType(args pyTuple) any {
	m.length(args, 4, 4)
	function, class := arg[pyName](m, args[0]), arg[pyName](m, args[1])
	switch class {
	case "torch.Tensor", "torch.nn.parameter.Parameter":
		return m.call(function, arg[pyTuple](m, args[2]))
	case "torch.distributed.tensor.DTensor":
		m.fail("a tensor that is spread over processes (DTensor): save its full_tensor(), or the " +
			"state dict of get_model_state_dict with full_state_dict=True")
	}
	m.fail("a tensor of the class %s, not a plain one: save plain ones, such as its dequantize() "+
		"or detach().clone()", quote(string(class)))
	return nil
}

// newObject pushes an object of a class. What Python would hand to the class is kept: a named
// tuple's values.
func (m *pickleMachine) newObject(of pyTuple) {
	object := pyDict{className: string(arg[pyName](m, of[0]))}
	if args := arg[pyTuple](m, of[1]); len(args) > 0 {
		object[valuesName] = args
	}
	m.push(object)
}

// build sets the attributes of an object: from a dict, or from a pair of dicts of which the second
// holds those that have slots; what else a class may take for its state is kept as its values.
// Those of a plain dict, such as a state dict with the versions of the modules that wrote it, are
// kept apart from what it holds.
func (m *pickleMachine) build(state any) {
	object := arg[pyDict](m, m.top())
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

func (m *pickleMachine) extend(items []any) {
	if d, ok := m.top().(pyDict); ok && d[className] != nil {
		if d[itemsName] == nil { // an object that is a list, too
			d[itemsName] = new([]any)
		}
		list := arg[pyList](m, d[itemsName])
		*list = append(*list, items...)
		return
	}
	list := arg[pyList](m, m.top())
	*list = append(*list, items...)
}

// setItems puts key, value, key, value, … into the dict on top of the stack. A key that is no
// simple value, such as a tuple, becomes "key 0", "key 1", …
func (m *pickleMachine) setItems(items []any) {
	d := arg[pyDict](m, m.top())
	if len(items)%2 != 0 {
		m.fail("%d keys and values", len(items))
	}
	for ; len(items) > 0; items = items[2:] {
		switch key := items[0].(type) {
		case string:
			m.steps += len(key) >> 8 // the work of looking up a long one, again and again
			d[key] = items[1]
		case nil, bool, int64, float64:
			d[fmt.Sprint(key)] = items[1]
		default:
			d[fmt.Sprint("key ", len(d))] = items[1]
		}
	}
}

// arg is a value that must be of the type T.
func arg[T any](m *pickleMachine, value any) T {
	t, ok := value.(T)
	if !ok {
		m.fail("%s in place of %s", pyKind(value), pyKind(t))
	}
	return t
}

// length checks how many values a tuple has.
func (m *pickleMachine) length(t pyTuple, least, most int) {
	if len(t) < least || len(t) > most {
		m.fail("a tuple of %d, not of %d to %d", len(t), least, most)
	}
}

// count is an integer that is not negative, small enough for a count of bytes of such elements.
func (m *pickleMachine) count(value any) int {
	n := arg[int64](m, value)
	if n < 0 || n > math.MaxInt/8 {
		m.fail("%d is no count", n)
	}
	return int(n)
}

// counts is a tuple of them, no longer than PyTorch's usual shapes.
func (m *pickleMachine) counts(value any) []int {
	t := arg[pyTuple](m, value)
	m.length(t, 0, 8)
	n := make([]int, len(t))
	for i := range t {
		n[i] = m.count(t[i])
	}
	return n
}

func (m *pickleMachine) recall(slot uint64) {
	value, ok := m.memo[slot]
	if !ok {
		m.fail("memo slot %d is empty", slot)
	}
	m.push(value)
}

func (m *pickleMachine) push(value any) { m.stack = append(m.stack, value) }

// top returns the object on top of the stack. What lies below the last mark belongs to the opcode
// that will take the mark.
func (m *pickleMachine) top() any {
	if len(m.stack) == m.floor() {
		m.fail("the stack is empty")
	}
	return m.stack[len(m.stack)-1]
}

func (m *pickleMachine) popN(n int) []any {
	at := len(m.stack) - n
	if at < m.floor() {
		m.fail("the stack is too short")
	}
	items := slices.Clone(m.stack[at:])
	m.stack = m.stack[:at]
	return items
}

// popMark pops everything above the last mark, and the mark.
func (m *pickleMachine) popMark() []any {
	if len(m.marks) == 1 {
		m.fail("there is no mark")
	}
	items := m.popN(len(m.stack) - m.floor())
	m.marks = m.marks[:len(m.marks)-1]
	return items
}

func (m *pickleMachine) floor() int { return m.marks[len(m.marks)-1] }

func (m *pickleMachine) take(n uint64) []byte {
	if n > uint64(len(m.program)-m.at) {
		m.fail("the pickle ends in the middle")
	}
	m.at += int(n)
	return m.program[m.at-int(n) : m.at]
}

// uint reads a little-endian integer of size bytes, at most 8.
func (m *pickleMachine) uint(size uint64) uint64 {
	var number [8]byte
	copy(number[:], m.take(size))
	return binary.LittleEndian.Uint64(number[:])
}

const longestName = 1000

// line reads a name up to the end of its line.
func (m *pickleMachine) line() string {
	end := bytes.IndexByte(m.program[m.at:min(len(m.program), m.at+longestName)], '\n')
	if end < 0 {
		m.fail("a name has no end")
	}
	return strings.TrimSuffix(string(m.take(uint64(end)+1)), "\n")
}

// integer is a little-endian integer in two's complement. One of more than 8 bytes, with which
// nobody counts, remains bytes.
func integer(b []byte) any {
	if len(b) > 8 {
		return string(b)
	}
	var n int64
	for i, c := range b {
		n |= int64(c) << (8 * i)
	}
	unused := 64 - 8*len(b)
	return n << unused >> unused // extends the sign
}

func bigEndianFloat(b []byte) float64 { return math.Float64frombits(binary.BigEndian.Uint64(b)) }

// plainTree is what the machine has made as JSON would have it: dicts and lists; an object is a
// dict of its attributes. What occurs twice stands where it is met first, in the order of the keys:
// a few bytes may unfold into more than any memory holds.
func plainTree(object any) map[string]any {
	const deepest = 100
	seen := map[uintptr]bool{}
	var plain func(value any, depth int) any
	plain = func(value any, depth int) any {
		var items []any
		dict, isDict := value.(pyDict)
		switch v := value.(type) {
		case pyDict:
		case pyList:
			items = *v
		case pyTuple:
			items = v
		default:
			return value
		}
		if depth > deepest {
			fail("what it holds is nested more than %d deep", deepest)
		}
		at := reflect.ValueOf(value).Pointer()
		if seen[at] {
			return nil
		}
		seen[at] = true
		for _, key := range sortedKeys(dict) {
			dict[key] = plain(dict[key], depth+1)
		}
		if inner, ok := dict["_val"]; ok { // a value of OmegaConf's
			return inner
		}
		if isDict {
			return dict
		}
		list := make([]any, len(items))
		for i, item := range items {
			list[i] = plain(item, depth+1)
		}
		return list
	}
	tree, ok := plain(object, 0).(map[string]any)
	if !ok {
		fail("it holds %s, not a state dict", pyKind(object))
	}
	return tree
}

var pyKinds = map[reflect.Type]string{
	reflect.TypeFor[pyTuple]():  "a tuple",
	reflect.TypeFor[pyList]():   "a list",
	reflect.TypeFor[pyDict]():   "a dict",
	reflect.TypeFor[pyName]():   "a name",
	reflect.TypeFor[string]():   "text",
	reflect.TypeFor[*storage](): "a storage",
	reflect.TypeFor[*strided](): "a tensor",
}

func pyKind(value any) string { return cmp.Or(pyKinds[reflect.TypeOf(value)], "a plain value") }
