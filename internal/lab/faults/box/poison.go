package box

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// codeCrash is an instruction that no processor knows.
var codeCrash = []byte{0x0f, 0x0b}

// hangMark is the name of the thread in which a poisoned function was called.
const hangMark = "hangs"

// codeHang returns code for the beginning of the function at address at: it names
// its thread and then waits for ever, as a goroutine waits that has locked itself
// out, by receiving from a nil channel with the runtime's function at receive.
func codeHang(at, receive uint64) []byte {
	code := []byte{
		0xb8, 0x9d, 0, 0, 0, // mov eax, prctl
		0xbf, 0x0f, 0, 0, 0, // mov edi, PR_SET_NAME
		0x48, 0x8d, 0x35, 11, 0, 0, 0, // lea rsi, [hangMark]
		0x0f, 0x05, // syscall
		0x31, 0xc0, // xor eax, eax
		0x31, 0xdb, // xor ebx, ebx
		0xe9, // jmp receive
	}
	code = binary.LittleEndian.AppendUint32(code, uint32(receive-at-uint64(len(code))-4))
	return append(append(code, hangMark...), 0)
}

// MakeHang makes a function of a running Go program never return from its next
// call on; the product needs no hook for it.
func MakeHang(pid int, exe, function string) error {
	at, err := address(exe, function, 40)
	if err != nil {
		return err
	}
	receive, err := address(exe, "runtime.chanrecv1", 1)
	if err != nil {
		return err
	}
	return poison(pid, function, at, codeHang(at, receive))
}

// MakeCrash makes the next call of a function end the program, as a bug would.
func MakeCrash(pid int, exe, function string) error {
	at, err := address(exe, function, 40)
	if err != nil {
		return err
	}
	return poison(pid, function, at, codeCrash)
}

// Poisonable returns why a function of a program cannot be made to hang or crash.
func Poisonable(exe, function string) error {
	_, err := address(exe, function, 40)
	return err
}

// poison writes code over the beginning of a function.
func poison(pid int, function string, at uint64, code []byte) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("poison %s: the bench has no code for %s", function, runtime.GOARCH)
	}
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("poison %s: %w", function, err)
	}
	defer func() { _ = mem.Close() }()
	// Nobody may be inside while the bytes change.
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("poison %s: %w", function, err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	if _, err := mem.WriteAt(code, int64(at)); err != nil {
		return fmt.Errorf("poison %s: %w", function, err)
	}
	return nil
}

// address finds a function of at least size bytes.
func address(exe, function string, size uint64) (uint64, error) {
	f, err := elf.Open(exe)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", exe, err)
	}
	defer func() { _ = f.Close() }()
	symbols, err := f.Symbols()
	if err != nil {
		return 0, fmt.Errorf("read %s: %w; the bench needs programs that are not stripped", exe, err)
	}
	for _, s := range symbols {
		if s.Name == function && s.Size >= size {
			return s.Value, nil
		}
	}
	return 0, fmt.Errorf("%s has no function %s: the bench names one that was renamed or inlined", filepath.Base(exe), function)
}

// Hangs tells whether a poisoned function was called.
func Hangs(pid int) bool {
	names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/comm", pid))
	for _, path := range names {
		if b, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(b)) == hangMark {
			return true
		}
	}
	return false
}
