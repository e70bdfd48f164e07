package main

// What this processor can do, and what its operating system lets a program use.
// hasAVX2 stands for AVX2, FMA and F16C together, hasAVX512 for the foundation set (AVX512F) on top of them.
var hasAVX2, hasAVX512 = detectVectors()

// cpuid executes the CPUID instruction; xgetbv reads extended control register 0.
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
func xgetbv() uint32

// detectVectors asks the processor for its vector instructions and the operating system, through extended
// control register 0, whether it saves the registers they use when it switches between threads: without that, another
// program would overwrite our sums. (Intel 64 and IA-32 Software Developer's Manual, volume 1, sections 14.3 and 15.2.)
func detectVectors() (avx2, avx512 bool) {
	const (
		fma, osxsave, avx, f16c = 1 << 12, 1 << 27, 1 << 28, 1 << 29 // leaf 1, ECX
		leaf7AVX2, leaf7AVX512F = 1 << 5, 1 << 16                    // leaf 7, EBX
		savesYMM                = 1<<1 | 1<<2                        // XCR0: SSE and AVX state
		savesZMM                = savesYMM | 1<<5 | 1<<6 | 1<<7      // and mask registers, upper halves, Z16–Z31
	)
	leaves, _, _, _ := cpuid(0, 0)
	if leaves < 7 {
		return false, false
	}
	_, _, ecx, _ := cpuid(1, 0)
	if need := uint32(fma | osxsave | avx | f16c); ecx&need != need {
		return false, false
	}
	saved := xgetbv()
	_, ebx, _, _ := cpuid(7, 0)
	avx2 = saved&savesYMM == savesYMM && ebx&leaf7AVX2 != 0
	avx512 = avx2 && saved&savesZMM == savesZMM && ebx&leaf7AVX512F != 0
	return avx2, avx512
}
