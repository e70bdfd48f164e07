package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// This file shares loops out among the cores. What a loop's rounds compute does not depend on who runs them or in which order, so the
// results are the same bits with any number of threads.

// threads is how many goroutines a parallel loop runs on.
var threads = runtime.GOMAXPROCS(0)

// loop is a loop whose rounds may run in any order and at the same time. It is a type, not a function, so that the loops of a layer can
// be kept in pools and used again, and no layer allocates memory. What goes back into a pool is cleared, to keep no batch alive.
type loop interface{ round(i int) }

// parallel runs rounds 0 … n−1 of a loop on up to threads goroutines, each of which takes the next round when it is done with one. A
// panic in one of them is handed on to the caller, where it can be recovered from: mapped weights may fail to be read.
func parallel(n int, l loop) {
	g := min(n, threads)
	if g <= 1 {
		for i := 0; i < n; i++ {
			l.round(i)
		}
		return
	}
	c := crews.get()
	if c.help == nil {
		c.help = c.work
	}
	c.loop, c.n = l, n
	c.next.Store(0)
	c.busy.Add(g)
	for ; g > 1; g-- {
		go c.help()
	}
	c.help()
	c.busy.Wait()
	cause := c.cause.Swap(nil)
	c.loop = nil
	crews.put(c)
	if cause != nil {
		panic(*cause)
	}
}

// crew is the goroutines of one parallel loop.
type crew struct {
	loop  loop
	n     int
	next  atomic.Int64 // the next round
	busy  sync.WaitGroup
	cause atomic.Pointer[any] // of a panic
	help  func()              // the method work, bound once, so that starting a goroutine allocates nothing
}

var crews pool[crew]

// work runs rounds until none is left.
func (c *crew) work() {
	defer c.busy.Done()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			cause := p
			c.cause.Store(&cause)
		}
	}()
	for i := int(c.next.Add(1)) - 1; i < c.n; i = int(c.next.Add(1)) - 1 {
		c.loop.round(i)
	}
}

// chunks is a loop over consecutive ranges of size numbers each, which together are 0…n−1.
type chunks struct {
	n, size int
	f       func(lo, hi int)
}

func (c chunks) round(i int) { c.f(i*c.size, min(c.n, (i+1)*c.size)) }

// eachChunk calls f for consecutive ranges that together are 0…n−1, on all cores.
func eachChunk(n, size int, f func(lo, hi int)) {
	parallel((n+size-1)/size, chunks{n, size, f})
}

// pool keeps scratch memory for its next user. Unlike a sync.Pool it is never emptied, so that in the steady state nothing is
// allocated.
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
