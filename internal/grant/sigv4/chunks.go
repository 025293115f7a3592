package sigv4

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Bounds of a body in signed chunks.
const (
	maxChunk   = 16 << 20 // data of a chunk, which is held until its hash is known
	maxLine    = 4 << 10
	maxTrailer = 16 << 10
)

// ErrChunks says that a body is not in signed chunks as it claims to be.
var ErrChunks = errors.New("the body is not in signed chunks")

// trailerSignature is the last line of a trailer.
const trailerSignature = "x-amz-trailer-signature"

// chunkSigner signs chunks, each together with the signature before it.
type chunkSigner struct {
	key   []byte
	stamp string
	scope Scope
	last  string
}

func (s *chunkSigner) sign(data []byte) string {
	s.last = sign(s.key, Algorithm+"-PAYLOAD\n"+s.stamp+"\n"+s.scope.String()+"\n"+s.last+"\n"+Hash(nil)+"\n"+Hash(data))
	return s.last
}

func (s *chunkSigner) signTrailer(trailer string) string {
	s.last = sign(s.key, Algorithm+"-TRAILER\n"+s.stamp+"\n"+s.scope.String()+"\n"+s.last+"\n"+Hash([]byte(trailer)))
	return s.last
}

// chunks is a body in which each chunk is signed anew. Signatures have one length, so the body keeps its own.
//
//	size in hex;chunk-signature=64 hex CR LF data CR LF … 0;chunk-signature=64 hex CR LF [trailer] CR LF
type chunks struct {
	body    io.ReadCloser
	from    *bufio.Reader
	signer  chunkSigner
	trailer bool // one follows the last chunk
	ready   bytes.Buffer
	err     error // once ready is empty
}

func newChunks(body io.ReadCloser, s chunkSigner, trailer bool) *chunks {
	return &chunks{body: body, from: bufio.NewReaderSize(body, 32<<10), signer: s, trailer: trailer}
}

// Read gives out whole chunks only.
func (c *chunks) Read(p []byte) (int, error) {
	for c.ready.Len() == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.err = c.next()
	}
	return c.ready.Read(p)
}

func (c *chunks) Close() error { return c.body.Close() }

// next reads a chunk, or after the last one the end. The error is io.EOF when everything is ready.
func (c *chunks) next() error {
	size, err := c.size()
	if err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(c.from, data); err != nil {
		return broken(err)
	}
	c.ready.WriteString(strconv.FormatInt(size, 16) + ";chunk-signature=" + c.signer.sign(data) + "\r\n")
	if size == 0 {
		return c.end()
	}
	c.ready.Write(data)
	return c.blank()
}

// size reads the line before a chunk. Its spelling is kept by being the only one: no zeros in front, lower case.
func (c *chunks) size() (int64, error) {
	line, err := c.line()
	if err != nil {
		return 0, err
	}
	digits, signature, _ := strings.Cut(line, ";chunk-signature=")
	size, err := strconv.ParseInt(digits, 16, 64)
	if sum, bad := hex.DecodeString(signature); err != nil || bad != nil || len(sum) != 32 || strconv.FormatInt(size, 16) != digits {
		return 0, fmt.Errorf("%w: the line before a chunk", ErrChunks)
	}
	if size > maxChunk || size < 0 {
		return 0, fmt.Errorf("%w: a chunk is larger than %d bytes", ErrChunks, maxChunk)
	}
	return size, nil
}

// end reads what follows the last chunk.
func (c *chunks) end() error {
	if c.trailer {
		if err := c.trailers(); err != nil {
			return err
		}
	}
	if err := c.blank(); err != nil {
		return err
	}
	if _, err := c.from.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more after the end", ErrChunks)
	}
	return io.EOF
}

// trailers reads the trailer up to and with its signature.
func (c *chunks) trailers() error {
	var fields [][2]string
	for total := 0; ; {
		line, err := c.line()
		if err != nil {
			return err
		}
		name, value, ok := strings.Cut(line, ":")
		if total += len(line); !ok || total > maxTrailer || name == "" || name != strings.ToLower(strings.TrimSpace(name)) {
			return fmt.Errorf("%w: the trailer", ErrChunks)
		}
		if name == trailerSignature {
			if sum, err := hex.DecodeString(value); err != nil || len(sum) != 32 {
				return fmt.Errorf("%w: the trailer's signature", ErrChunks)
			}
			break
		}
		fields = append(fields, [2]string{name, strings.TrimSpace(value)})
		c.ready.WriteString(line + "\r\n")
	}
	slices.SortStableFunc(fields, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	var text strings.Builder
	for _, f := range fields {
		text.WriteString(f[0] + ":" + f[1] + "\n")
	}
	c.ready.WriteString(trailerSignature + ":" + c.signer.signTrailer(text.String()) + "\r\n")
	return nil
}

// blank reads an empty line.
func (c *chunks) blank() error {
	line, err := c.line()
	if err == nil && line != "" {
		err = fmt.Errorf("%w: a chunk is longer than it says", ErrChunks)
	}
	if err != nil {
		return err
	}
	c.ready.WriteString("\r\n")
	return nil
}

// line reads a line, without its CR LF.
func (c *chunks) line() (string, error) {
	line, err := c.from.ReadSlice('\n')
	if err != nil {
		return "", broken(err)
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || len(text) > maxLine {
		return "", fmt.Errorf("%w: a line", ErrChunks)
	}
	return text, nil
}

func broken(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, bufio.ErrBufferFull) {
		return fmt.Errorf("%w: it is cut off", ErrChunks)
	}
	return err
}
