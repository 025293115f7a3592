package journal

import (
	"bytes"
	"fmt"
)

// TailOffset returns where the last n lines begin: of everything, or, if stream is not AnyStream, of what that stream
// printed. Then copying from there to End with the same stream gives exactly these lines. A last line needs no
// newline to count. Offset 0 if there are fewer lines, End if n ≤ 0.
//
// Memory is bounded. Time grows with the length of these lines; with a stream also with what others printed since.
func (r *Reader) TailOffset(n int64, stream Stream) (int64, error) {
	if n <= 0 {
		return r.end, nil
	}
	lines := tailCounter{left: n}
	if stream != AnyStream {
		return r.tailOf(stream, &lines)
	}
	buf := make([]byte, min(readSize, r.end))
	for end := r.end; end > 0; {
		block := buf[:min(end, int64(len(buf)))]
		end -= int64(len(block))
		if got, err := r.log.ReadAt(block, end); got < len(block) {
			return 0, fmt.Errorf("read %s: %w", LogName, err)
		}
		if i, found := lines.find(block); found {
			return end + int64(i), nil
		}
	}
	return 0, nil
}

// tailOf goes through the records of one stream, from the last to the first.
func (r *Reader) tailOf(stream Stream, lines *tailCounter) (int64, error) {
	data := &window{file: r.log} // without a limit it reads one record at a time: the next one lies before it
	for i := r.index.count - 1; i >= 0; i-- {
		rec, err := r.index.at(i)
		if err != nil {
			return 0, err
		}
		if rec.kind != kindOutput || rec.stream != stream {
			continue
		}
		block, err := data.read(rec)
		if err != nil {
			return 0, err
		}
		if at, found := lines.find(block); found {
			return rec.offset + int64(at), nil
		}
	}
	return 0, nil
}

// tailCounter counts lines from the end of a text that it is given in blocks, the last one first.
type tailCounter struct {
	left    int64 // lines still wanted
	started bool  // the text's last byte was seen
}

// find returns where in the block the first wanted line begins, if that is in it (or right behind it).
func (t *tailCounter) find(block []byte) (int, bool) {
	end := len(block)
	if !t.started && end > 0 {
		t.started = true
		if block[end-1] == '\n' {
			end-- // ends the last line, begins none
		}
	}
	for {
		i := bytes.LastIndexByte(block[:end], '\n')
		if i < 0 {
			return 0, false
		}
		if t.left--; t.left == 0 {
			return i + 1, true
		}
		end = i
	}
}
