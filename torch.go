package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// PyTorch's files (pytorch_model.bin, *.pt, *.pth), as torch.save writes them. There are two forms;
// both hold a pickle (pickle.go) that describes the tensors, and beside it the numbers in storages,
// flat arrays to which the pickle refers by a key. A tensor is a view of a storage: an offset, a
// shape, and a stride for each dimension, so that a transposed tensor or two tensors in one storage
// cost no copy.
//
//	since 1.6, a zip file, nothing in it compressed, the storages at multiples of 64 bytes:
//	    NAME/data.pkl, NAME/byteorder (newer ones), NAME/data/KEY for each storage, NAME/version
//
//	before, and on request since, five pickles and the storages one after the other:
//	    a magic number, the version of the form (1001), facts about the machine, the object, the
//	    list of the storages' keys;
//	    then for each key the count of its elements in 8 bytes, and the elements
//
// The form is that of torch/serialization.py in PyTorch's sources.

const zipMagic = "PK\x03\x04"

// isTorch tells whether a file that begins with head, nine bytes or more, is a zip file or a
// pickle. A safetensors file with a header of 640 bytes begins like a pickle of protocol 2, but its
// ninth byte is {.
func isTorch(head []byte) bool {
	isPickle := len(head) >= 9 && head[0] == opProto && head[1] >= 2 && head[1] <= 5 &&
		head[8] != '{'
	return isPickle || bytes.HasPrefix(head, []byte(zipMagic))
}

// parseTorch returns the object that a PyTorch file holds. Its tensors are views of data.
func parseTorch(data []byte) (object any, err error) {
	if bytes.HasPrefix(data, []byte(zipMagic)) {
		return parseTorchZip(data)
	}
	return parseTorchStream(data)
}

// tensorsOf returns the tensors of a state dict, in row-major order. Numbers of other strides are
// copied, the others stay where they are in the file. size is the file's: tensors may share a
// storage, as tied ones do, but those of a real file are not many times the file.
func tensorsOf(state map[string]any, size int) ([]Tensor, error) {
	const most = 8 // times the file
	var tensors []Tensor
	total, copied := 0, size
	for _, name := range sortedKeys(state) {
		view, ok := state[name].(*strided)
		if !ok {
			continue
		}
		t, err := view.tensor(name, &copied)
		if err != nil {
			return nil, fmt.Errorf("tensor %s: %w", quote(name), err)
		}
		if len(t.data) > most*size-total {
			return nil, fmt.Errorf("its tensors share their numbers: they are more than %d times "+
				"as large as the file", most)
		}
		total += len(t.data)
		tensors = append(tensors, t)
	}
	return tensors, nil
}

func parseTorchZip(data []byte) (object any, err error) {
	entries, err := zipEntries(data)
	if err != nil {
		return nil, err
	}
	folder := ""
	for name := range entries {
		f, ok := strings.CutSuffix(name, "/data.pkl")
		switch {
		case ok && !strings.Contains(f, "/"):
			folder = max(folder, f+"/")
		case strings.HasSuffix(name, "/archive_format"):
			return nil, errors.New("this is an exported program (torch.export), not weights " +
				"alone: save it again where it came from, as torch.save(program.state_dict, FILE)")
		}
	}
	if folder == "" {
		return nil, errors.New("a zip file, but not PyTorch's: there is no data.pkl in it")
	}
	if _, ok := entries[folder+"constants.pkl"]; ok {
		return nil, errors.New("this is a TorchScript program, not weights alone: save it again " +
			"where it came from, as torch.save(model.state_dict(), FILE)")
	}
	order, ok := entries[folder+"byteorder"]
	if ok && string(order) != "little" {
		return nil, fmt.Errorf("its byte order is %s: only little-endian files are read",
			quote(string(order)))
	}
	storages := storageSet{}
	object, _, err = unpickle(entries[folder+"data.pkl"], storages.library())
	if err != nil {
		return nil, err
	}
	for key, s := range storages {
		entry, ok := entries[folder+"data/"+key]
		if !ok {
			return nil, fmt.Errorf("storage %s is missing", quote(key))
		}
		if uint64(len(entry)) != s.count*s.size {
			return nil, fmt.Errorf("storage %s has %d bytes: its %d elements need %d", quote(key),
				len(entry), s.count, s.count*s.size)
		}
		s.data = entry
	}
	return object, nil
}

// zipEntries returns the entries of a zip file by name, each where it lies in data: PyTorch neither
// compresses nor encrypts them. As in torch.load, checksums are not looked at: torch.save can be
// told to leave them out.
func zipEntries(data []byte) (map[string][]byte, error) {
	damaged := errors.New("not a whole PyTorch file: it was cut short, or is damaged")
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, damaged
	}
	entries := map[string][]byte{}
	for _, f := range archive.File {
		const encrypted = 1
		start, err := f.DataOffset()
		size, left := f.UncompressedSize64, uint64(len(data))-uint64(start)
		_, twice := entries[f.Name]
		switch {
		case err != nil || start < 0 || uint64(start) > uint64(len(data)):
			return nil, damaged
		case strings.HasSuffix(f.Name, ".npy"):
			return nil, errors.New("this is a NumPy file (npz): only safetensors and PyTorch " +
				"files can be read")
		case twice:
			return nil, fmt.Errorf("zip entry %s is there twice", quote(f.Name))
		case f.Flags&encrypted != 0 || f.Method != zip.Store || f.CompressedSize64 != size:
			return nil, fmt.Errorf("zip entry %s: compressed or encrypted, which PyTorch never "+
				"does: pack the file again without compression (zip -0)", quote(f.Name))
		case size > left:
			return nil, fmt.Errorf("zip entry %s: runs past the end of the file", quote(f.Name))
		}
		entries[f.Name] = data[start:][:size]
	}
	return entries, nil
}

func parseTorchStream(data []byte) (object any, err error) {
	const magic = longInt("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") // 0x1950a86a20f9469cfc6c
	const version = int64(1001)

	first, data, err := nextPickle(data, "magic number")
	if err != nil {
		return nil, err
	}
	if first != any(magic) {
		return nil, errors.New("a pickle, but not a file of torch.save: it does not begin with " +
			"PyTorch's magic number")
	}
	second, data, err := nextPickle(data, "version")
	if err != nil {
		return nil, err
	}
	if second != any(version) {
		return nil, fmt.Errorf("an unknown version of the stream form: only %d is known", version)
	}
	third, data, err := nextPickle(data, "machine")
	if err != nil {
		return nil, err
	}
	if machine, ok := third.(*pyDict); !ok || machine.values["little_endian"] != any(true) {
		return nil, errors.New("it does not say little_endian: only little-endian files are read")
	}
	storages := storageSet{}
	object, length, err := unpickle(data, storages.library())
	if err != nil {
		return nil, err
	}
	fifth, data, err := nextPickle(data[length:], "storage keys")
	if err != nil {
		return nil, err
	}
	keys, ok := fifth.(*pyList)
	if !ok {
		return nil, fmt.Errorf("storage keys: %s in place of a list", pyKind(fifth))
	}

	for _, item := range keys.items {
		key, _ := item.(string)
		s, ok := storages[key]
		if !ok {
			return nil, fmt.Errorf("storage %.100q belongs to no tensor", key)
		}
		if len(data) < 8 {
			return nil, fmt.Errorf("the file ends before storage %.100q", key)
		}
		if count := binary.LittleEndian.Uint64(data); count != s.count {
			return nil, fmt.Errorf("storage %.100q has %d elements where its tensors say %d", key,
				count, s.count)
		}
		data = data[8:]
		if uint64(len(data)) < s.count*s.size {
			return nil, fmt.Errorf("the file ends in storage %.100q", key)
		}
		s.data, data = data[:s.count*s.size], data[s.count*s.size:]
	}
	for key, s := range storages {
		if s.data == nil {
			return nil, fmt.Errorf("storage %.100q is missing", key)
		}
	}
	return object, nil
}

// nextPickle unpickles one object and returns the rest of the file.
func nextPickle(data []byte, what string) (object any, rest []byte, err error) {
	object, length, err := unpickle(data, storageSet{}.library())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", what, err)
	}
	return object, data[length:], nil
}

// A storage is a flat array of numbers beside the pickle.
type storage struct {
	dtype string // in safetensors' terms
	size  uint64 // bytes of an element
	count uint64 // elements; count × size does not overflow
	data  []byte // where the file holds it, once that is known
}

// storageTypes are PyTorch's storage classes and their number formats in safetensors' terms. Only
// the first four hold weights; the others are what masks may be made of.
var storageTypes = [...]struct {
	class pyName
	dtype string
}{
	{"torch.FloatStorage", "F32"},
	{"torch.HalfStorage", "F16"},
	{"torch.BFloat16Storage", "BF16"},
	{"torch.DoubleStorage", "F64"},
	{"torch.ByteStorage", "U8"},
	{"torch.BoolStorage", "BOOL"},
	{"torch.CharStorage", "I8"},
	{"torch.ShortStorage", "I16"},
	{"torch.IntStorage", "I32"},
	{"torch.LongStorage", "I64"},
}

// A storageSet holds, by key, the storages that a pickle has named.
type storageSet map[string]*storage

// library is all that may be called in a PyTorch file: what a state dict needs, or what trainers
// keep beside it. Of objects that hold no weights nothing is kept.
func (set storageSet) library() library {
	nothing := func(pyTuple) (any, error) { return nil, nil }
	empty := func(pyTuple) (any, error) { return &pyDict{}, nil }
	functions := map[pyName]func(args pyTuple) (any, error){
		"torch._utils._rebuild_tensor_v2":            rebuildTensor,
		"torch._utils._rebuild_parameter":            rebuildParameter,
		"torch._utils._rebuild_parameter_with_state": rebuildParameter,
		"torch._tensor._rebuild_from_type_v2":        rebuildFromType,
		"torch._utils._rebuild_wrapper_subclass":     rebuildDTensor,
		"collections.OrderedDict":                    orderedDict,
		"collections.defaultdict":                    empty,
		"collections.Counter":                        empty,
		"__builtin__.set":                            nothing,
		"builtins.set":                               nothing,
		"datetime.datetime":                          nothing,
		"datetime.timedelta":                         nothing,
		"torch.serialization._get_layout":            nothing,
		"_codecs.encode":                             nothing, // bytes
		"torch.Size":                                 nothing,
		"torch.device":                               nothing,
	}
	return library{functions, set.persistent}
}

// persistent is what BINPERSID means in a PyTorch file. The id is ("storage", class, key, device,
// count of elements); the older form adds None, or what makes the storage a part of another one.
func (set storageSet) persistent(id any) (any, error) {
	t, ok := id.(pyTuple)
	if ok && len(t) == 4 && t[0] == any("module") { // a class with its source, before version 1.6
		return t[1], nil
	}
	if !ok || len(t) != 5 && len(t) != 6 || t[0] != any("storage") {
		return nil, errors.New("a persistent id that is not a storage's")
	}
	class, _ := t[1].(pyName)
	dtype := ""
	for _, s := range storageTypes {
		if s.class == class {
			dtype = s.dtype
		}
	}
	key, ok1 := t[2].(string)
	count, ok2 := t[4].(int64)
	if class == "torch.storage.UntypedStorage" || strings.HasPrefix(string(class), "torch.Q") {
		return nil, errors.New("numbers of a quantized model (float8, qint8): save the weights " +
			"as float32, float16 or bfloat16")
	}
	if dtype == "" || !ok1 || !ok2 || count < 0 || count > math.MaxInt64/8 {
		return nil, errors.New("a storage's persistent id is not " +
			`("storage", class, key, device, count)`)
	}
	if len(t) == 6 && t[5] != nil {
		return nil, fmt.Errorf("storage %.100q is a part of another one, as only old versions of "+
			"PyTorch wrote it: load and save it again with a newer one", key)
	}
	s, ok := set[key]
	if !ok {
		size := uint64(formatBits(dtype) / 8)
		s = &storage{dtype: dtype, size: size, count: uint64(count)}
		set[key] = s
	}
	if s.dtype != dtype || s.count != uint64(count) {
		return nil, fmt.Errorf("storage %.100q is described in two ways", key)
	}
	return s, nil
}

func (*storage) String() string { return "a storage" }

// A strided tensor is a view of a storage: element [i, j, …] is the storage's element offset +
// i·stride[0] + j·stride[1] + …
type strided struct {
	storage       *storage
	offset        uint64
	shape, stride []uint64
}

func (*strided) String() string { return "a tensor" }

// rebuildTensor stands for torch._utils._rebuild_tensor_v2(storage, offset, shape, stride,
// requires_grad, hooks, metadata).
func rebuildTensor(args pyTuple) (any, error) {
	if len(args) != 6 && len(args) != 7 {
		return nil, fmt.Errorf("%d arguments, not 6 or 7", len(args))
	}
	s, ok1 := args[0].(*storage)
	offset, ok2 := args[1].(int64)
	shape, ok3 := dimensions(args[2])
	stride, ok4 := dimensions(args[3])
	if !ok1 || !ok2 || !ok3 || !ok4 || offset < 0 || len(shape) != len(stride) {
		return nil, errors.New("the arguments are not (storage, offset, shape, stride, …)")
	}
	if len(args) == 7 && args[6] != nil {
		if flags, ok := args[6].(*pyDict); !ok || len(flags.keys) > 0 {
			return nil, errors.New("a negated or conjugated view: save the tensor's clone()")
		}
	}
	count, last := uint64(1), uint64(offset) // the elements; where the last one is in the storage
	tooMany, tooFar := false, false
	for i, n := range shape {
		high, product := bits.Mul64(count, n)
		count, tooMany = product, tooMany || high > 0
		if n > 1 {
			high, step := bits.Mul64(n-1, stride[i])
			sum, carry := bits.Add64(last, step, 0)
			last, tooFar = sum, tooFar || high > 0 || carry > 0
		}
	}
	if tooMany || count > 0 && (tooFar || last >= s.count) {
		return nil, fmt.Errorf("shape %d with strides %d from %d does not fit into a storage of "+
			"%d elements", shape, stride, offset, s.count)
	}
	return &strided{storage: s, offset: uint64(offset), shape: shape, stride: stride}, nil
}

// dimensions is a tuple of integers that are not negative, no longer than PyTorch's usual shapes.
func dimensions(value any) (dims []uint64, ok bool) {
	t, ok := value.(pyTuple)
	if !ok || len(t) > 8 {
		return nil, false
	}
	for _, item := range t {
		n, ok := item.(int64)
		if !ok || n < 0 {
			return nil, false
		}
		dims = append(dims, uint64(n))
	}
	return dims, true
}

// rebuildParameter stands for torch._utils._rebuild_parameter(tensor, requires_grad, hooks) and
// _rebuild_parameter_with_state, which hands over attributes as well.
func rebuildParameter(args pyTuple) (any, error) {
	if len(args) != 3 && len(args) != 4 {
		return nil, fmt.Errorf("%d arguments, not 3 or 4", len(args))
	}
	if _, ok := args[0].(*strided); !ok {
		return nil, fmt.Errorf("%s in place of a tensor", pyKind(args[0]))
	}
	return args[0], nil
}

// rebuildFromType stands for torch._tensor._rebuild_from_type_v2(function, type, arguments, state):
// a tensor with attributes, such as FSDP's, or of a class of its own.
func rebuildFromType(args pyTuple) (any, error) {
	if len(args) != 4 {
		return nil, fmt.Errorf("%d arguments, not 4", len(args))
	}
	function, _ := args[0].(pyName)
	class, _ := args[1].(pyName)
	inner, _ := args[2].(pyTuple)
	rebuild := map[pyName]func(pyTuple) (any, error){
		"torch._utils._rebuild_tensor_v2":            rebuildTensor,
		"torch._utils._rebuild_parameter":            rebuildParameter,
		"torch._utils._rebuild_parameter_with_state": rebuildParameter,
	}[function]
	switch {
	case class == "torch.distributed.tensor.DTensor":
		return rebuildDTensor(args)
	case rebuild == nil || class != "torch.Tensor" && class != "torch.nn.parameter.Parameter":
		return nil, fmt.Errorf("a tensor of the class %.100s, not a plain one: save plain ones, "+
			"such as its dequantize() or detach().clone()", class)
	}
	return rebuild(inner)
}

func rebuildDTensor(pyTuple) (any, error) {
	return nil, errors.New("a tensor that is spread over processes (DTensor): save its " +
		"full_tensor(), or the state dict of get_model_state_dict with full_state_dict=True")
}

// tensor returns the view in row-major order: a piece of the storage if it is in that order, or
// else a copy, which is taken off the budget of bytes.
func (v *strided) tensor(name string, budget *int) (Tensor, error) {
	size := v.storage.size
	t := Tensor{name: name, format: v.storage.dtype}
	for _, n := range v.shape {
		t.shape = append(t.shape, int(n))
	}
	length, err := sizeOf(t.format, t.shape)
	switch {
	case err != nil:
		return Tensor{}, err
	case length == 0:
	case v.rowMajor():
		t.data = v.storage.data[v.offset*size:][:length:length]
	case length > *budget:
		return Tensor{}, fmt.Errorf("the strided tensors together are larger than the file: save " +
			"them as contiguous()")
	default:
		if err := enoughMemory(uint64(length), "its copy in row-major order"); err != nil {
			return Tensor{}, err
		}
		*budget -= length
		t.data = v.gather(make([]byte, 0, length))
	}
	return t, nil
}

func (v *strided) rowMajor() bool {
	step := uint64(1)
	for i := len(v.shape) - 1; i >= 0; i-- {
		if v.shape[i] != 1 && v.stride[i] != step {
			return false
		}
		step *= v.shape[i]
	}
	return true
}

// gather appends the elements of a view to out in row-major order.
func (v *strided) gather(out []byte) []byte {
	size := v.storage.size
	index := make([]uint64, len(v.shape))
	for from := v.offset; ; {
		out = append(out, v.storage.data[from*size:][:size]...)
		i := len(index) - 1
		for ; i >= 0; i-- { // count up like the digits of a number, the last one first
			index[i]++
			from += v.stride[i]
			if index[i] < v.shape[i] {
				break
			}
			from -= v.stride[i] * v.shape[i]
			index[i] = 0
		}
		if i < 0 {
			return out
		}
	}
}
