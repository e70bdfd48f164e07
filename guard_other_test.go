//go:build !linux && !darwin

package main

import "testing"

// guarded returns n values. Where pages can be unmapped there is one behind them.
func guarded(_ testing.TB, n int) []float32 { return make([]float32, n) }
