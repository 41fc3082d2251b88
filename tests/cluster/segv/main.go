// A program that dies by a segmentation fault of its own, also as process 1 of a container: the kernel does not let
// process 1 ignore a fault, though it ignores a SIGSEGV that is sent.
package main

import (
	"syscall"
	"unsafe"
)

func main() {
	// Go's runtime would turn the fault into a panic. A sigaction of zeros is the kernel's own way, SIG_DFL.
	var byDefault [4]uintptr
	action := uintptr(unsafe.Pointer(&byDefault))
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(syscall.SIGSEGV), action, 0, 8, 0, 0)
	var nowhere *int
	*nowhere = 1
}
