//go:build !amd64

package main

func gelu(x []float32) { geluGo(x) }

func softmax(x []float32) { softmaxGo(x) }

func layerNorm(y, x []float32, n Norm) { layerNormGo(y, x, n) }
