package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// This file shares loops out among the cores. What a round of a loop computes does not depend on
// who runs it or in which order, so the results are the same bits with any number of threads.

// threads is how many goroutines a parallel loop runs on. More would only wait for each other.
var threads = min(runtime.GOMAXPROCS(0), 1024)

// parallel calls f(0) … f(n−1) on up to threads goroutines, each of which takes the next number
// when it is done with one. A panic in one of them is handed on to the caller, where it can be
// recovered from: mapped weights may fail to be read.
func parallel(n int, f func(i int)) {
	g := min(n, threads)
	if g <= 1 {
		for i := 0; i < n; i++ {
			f(i)
		}
		return
	}
	var next, busy atomic.Int64
	var crashed atomic.Pointer[crash]
	work := func() {
		defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
		defer func() {
			if p := recover(); p != nil {
				crashed.Store(newCrash(p))
			}
		}()
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			f(i)
		}
	}
	done := make(chan bool, 1)
	busy.Store(int64(g))
	leave := func() {
		if busy.Add(-1) == 0 {
			done <- true
		}
	}
	for ; g > 1; g-- {
		h := helpers.get()
		h.do(func() {
			work()
			helpers.put(h)
			leave()
		})
	}
	work()
	leave()
	runtime.Gosched() // to what else is to run, such as a layer's weights being brought in
	linger(done)
	if c := crashed.Load(); c != nil {
		panic(c)
	}
}

// helper is a goroutine that takes part in parallel loops. A sweep has a hundred of them one after
// the other, and to start a goroutine on another core or to wake one there takes 50 µs and more: so
// a helper lingers for a while before it goes to sleep.
type helper struct{ task chan func() }

var helpers pool[helper]

// do has a helper that has nothing to do run a task.
func (h *helper) do(task func()) {
	if h.task == nil {
		h.task = make(chan func(), 1)
		go func() {
			for {
				linger(h.task)()
				runtime.Gosched() // to the caller, which may wait for this core
			}
		}()
	}
	h.task <- task
}

// crowded says that other programs want the cores, or that a container may not use them all.
var crowded atomic.Bool

// linger receives from a channel. Where there is nothing yet it keeps its core for a while, unless
// it finds that the core is taken away from it: then it would only be in the way of those that
// work. A clock that goes by milliseconds, as that of Windows may, does not look like it.
func linger[T any](c chan T) T {
	const while, stolen = 300 * time.Microsecond, 2 * time.Millisecond
	waited := time.Duration(0)
	for start := time.Now(); waited < while && !crowded.Load(); waited = time.Since(start) {
		select {
		case v := <-c:
			return v
		default:
		}
	}
	if waited > stolen {
		crowded.Store(true)
	}
	return <-c
}

// crash is a panic on its way from one goroutine to another, with the stack where it happened.
type crash struct {
	cause any
	stack []byte
}

// newCrash is called in the deferred function that recovered p.
func newCrash(p any) *crash {
	if c, ok := p.(*crash); ok {
		return c
	}
	return &crash{p, debug.Stack()}
}

func (c *crash) Error() string { return fmt.Sprint(c.cause) }

// eachChunk calls f for consecutive ranges that together are 0…n−1, on all cores.
func eachChunk(n, size int, f func(lo, hi int)) {
	parallel((n+size-1)/size, func(i int) { f(i*size, min(n, (i+1)*size)) })
}

// forgetMappings takes the pages of all mapped files out of memory at the end of the program, on
// all cores. The system does it as well, but on one: GPT-2 small's take 20 ms, a tenth of a sweep.
func forgetMappings() {
	const piece = 16 << 20
	mappings.Range(func(_, mapped any) bool {
		data := mapped.([]byte)
		eachChunk(len(data), piece, func(lo, hi int) { forget(data[lo:hi]) })
		return true
	})
}

// pool keeps scratch memory for its next user. Unlike a sync.Pool it is never emptied: fresh memory
// is slow where it is touched for the first time.
type pool[T any] struct {
	mu   sync.Mutex
	free []*T
}

func (p *pool[T]) get() *T {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		t := p.free[n-1]
		p.free = p.free[:n-1]
		return t
	}
	return new(T)
}

func (p *pool[T]) put(t *T) {
	p.mu.Lock()
	p.free = append(p.free, t)
	p.mu.Unlock()
}
