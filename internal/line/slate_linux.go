package line

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Slate is memory that a guest shares with a host that reads a terminal itself. The host reads into it, so that what it
// has read outlives it. It is anonymous (memfd_create(2)) and sealed: neither side can take it away under the other.
//
// Only one side uses it at a time: the guest until it lends the terminal and from when it has it back, and the host in
// between. A host writes down what it is about to do before it does it:
//
//	word 0     which of the two notes below counts
//	word 1, 3  note: number of the output byte that data begins with; all before it is recorded
//	word 2, 4  note: how much of data was read, in the upper half; up to where a read may have put bytes, in the lower
//	page 1 …   data
//
// A read asks for just as much as is there (FIONREAD, ioctl_tty(2)), so it comes whole or not at all. Its part of data is blank before:
// bytes that are no part of UTF-8. If a host died within a read, a part that is still blank was not read. That would be
// wrong only for a read that was carried out and whose every byte was that one.
type Slate struct {
	mem  []byte
	data []byte
}

const (
	slateHeader = 4096
	slateSize   = slateHeader + MaxData
	slateSeals  = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
	blank       = 0xfe // RFC 3629: never appears in UTF-8
)

// NewSlate makes a slate and the file to pass to the other side. The caller closes both.
func NewSlate() (*Slate, *os.File, error) {
	fd, err := unix.MemfdCreate("moat-slate", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, nil, fmt.Errorf("make a slate: %w", err)
	}
	f := os.NewFile(uintptr(fd), FileSlate)
	err = unix.Ftruncate(fd, slateSize)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, slateSeals)
	}
	var s *Slate
	if err == nil {
		s, err = OpenSlate(f)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make a slate: %w", err), f.Close())
	}
	return s, f, nil
}

// OpenSlate maps a slate that the other side has made. The caller closes it; f is not kept.
func OpenSlate(f *os.File) (*Slate, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open a slate: %w", err)
	}
	var mem []byte
	cerr := raw.Control(func(fd uintptr) {
		var seals int
		if seals, err = unix.FcntlInt(fd, unix.F_GET_SEALS, 0); err == nil && seals&unix.F_SEAL_SHRINK == 0 {
			err = errors.New("it is not sealed")
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstat(int(fd), &st)
		}
		if err == nil && st.Size != slateSize {
			err = fmt.Errorf("it has %d bytes", st.Size)
		}
		if err == nil {
			mem, err = unix.Mmap(int(fd), 0, slateSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		}
	})
	if err := errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("open a slate: %w", err)
	}
	return &Slate{mem: mem, data: mem[slateHeader:]}, nil
}

// Close unmaps the slate. No slice of it may be used any more.
func (s *Slate) Close() error { return unix.Munmap(s.mem) }

// word is a word of the header.
func (s *Slate) word(i int) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&s.mem[8*i])) }

// note returns the words that count.
func (s *Slate) note() (at, have *atomic.Uint64) {
	i := 1 + 2*int(s.word(0).Load()&1)
	return s.word(i), s.word(i + 1)
}

// Begin wipes the slate: all output before the byte number at is recorded.
func (s *Slate) Begin(at uint64) {
	other := 1 - s.word(0).Load()&1
	s.word(1 + 2*int(other)).Store(at)
	s.word(2 + 2*int(other)).Store(0)
	s.word(0).Store(other)
}

// Next is the number of the output byte that data begins with.
func (s *Slate) Next() uint64 {
	at, _ := s.note()
	return at.Load()
}

// Read reads once from the terminal's master fd, which does not block: what is there, as far as the slate has room. It
// returns all that was read since Begin, or the error: EAGAIN if there is nothing now, any other (EIO) at the terminal's
// end. The slice is shared with whoever holds the slate.
func (s *Slate) Read(fd int) ([]byte, error) {
	_, have := s.note()
	sure := int(have.Load() >> 32) // ours: the other side may not use the slate, but a hostile one would
	if sure >= len(s.data) {
		return nil, errors.New("the slate is full")
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil || n <= 0 {
		n = 1 // it tells whether there will be any
	}
	part := s.data[sure:min(sure+n, len(s.data))]
	for i := range part {
		part[i] = blank
	}
	have.Store(uint64(sure)<<32 | uint64(sure+len(part)))
	got, err := unix.Read(fd, part)
	if got == 0 && err == nil {
		err = unix.EIO
	}
	sure += max(got, 0)
	have.Store(uint64(sure)<<32 | uint64(sure))
	if err != nil {
		return nil, err
	}
	return s.data[:sure], nil
}

// Recorded says that the first n bytes of what Read returned, which is all of it, are recorded.
func (s *Slate) Recorded(n int) { s.Begin(s.Next() + uint64(n)) }

// Recover returns what a host has left: the number of the first byte that it had not noted as recorded, and what it had
// read from there on.
func (s *Slate) Recover() (at uint64, data []byte) {
	first, have := s.note()
	sure, asked := int(have.Load()>>32), int(have.Load()&(1<<32-1))
	sure = min(sure, len(s.data))
	asked = min(max(asked, sure), len(s.data))
	for _, b := range s.data[sure:asked] {
		if b != blank {
			return first.Load(), s.data[:asked]
		}
	}
	return first.Load(), s.data[:sure]
}
