package audit

import (
	"fmt"
	"iter"

	"golang.org/x/mod/sumdb/tlog"
)

// Prover proves of some entries that they are in a tree (RFC 6962, 2.1.1).
type Prover struct {
	size   int64
	hashes map[int64]Hash // by their place in tlog's order of storage
}

// Prove reads the leaves of a tree of that size, which must be all of them, and returns what is needed to prove the
// entries from first to last, counted from 1. Memory is that of the proofs.
func Prove(size, first, last int64, leaves iter.Seq2[Hash, error]) (*Prover, error) {
	if first < 1 || last < first || last > size {
		return nil, fmt.Errorf("there are entries from 1 to %d, not %d to %d", size, first, last)
	}
	p := &Prover{size: size, hashes: make(map[int64]Hash)}
	wanted := tlog.HashReaderFunc(func(places []int64) ([]Hash, error) {
		for _, at := range places {
			p.hashes[at] = Hash{}
		}
		return make([]Hash, len(places)), nil
	})
	for seq := first; seq <= last; seq++ {
		if _, err := tlog.ProveRecord(size, seq-1, wanted); err != nil {
			return nil, fmt.Errorf("prove entry %d: %w", seq, err)
		}
	}
	return p, p.collect(leaves)
}

// collect goes through the tree and keeps the hashes that are wanted.
func (p *Prover) collect(leaves iter.Seq2[Hash, error]) error {
	var edge []Hash
	n := int64(0)
	for h, err := range leaves {
		if err != nil {
			return err
		}
		if n == p.size {
			break
		}
		p.keep(0, n, h)
		level, at := 0, n
		for ; at&1 == 1; at >>= 1 {
			h = tlog.NodeHash(edge[len(edge)-1], h)
			edge = edge[:len(edge)-1]
			level++
			p.keep(level, at>>1, h)
		}
		edge = append(edge, h)
		n++
	}
	if n < p.size {
		return fmt.Errorf("%w: there are %d entries, %d were signed", ErrTree, n, p.size)
	}
	return nil
}

func (p *Prover) keep(level int, n int64, h Hash) {
	at := tlog.StoredHashIndex(level, n)
	if _, wanted := p.hashes[at]; wanted {
		p.hashes[at] = h
	}
}

// Entry proves an entry that was asked for.
func (p *Prover) Entry(seq int64) ([]Hash, error) {
	return tlog.ProveRecord(p.size, seq-1, tlog.HashReaderFunc(func(places []int64) ([]Hash, error) {
		hashes := make([]Hash, len(places))
		for i, at := range places {
			hashes[i] = p.hashes[at]
		}
		return hashes, nil
	}))
}

// CheckProof reports whether a proof shows that an entry, counted from 1, is in the tree of a checkpoint.
func CheckProof(c Checkpoint, seq int64, leaf Hash, proof []Hash) error {
	if seq < 1 || seq > c.Size {
		return fmt.Errorf("%w: entry %d of %d", ErrTree, seq, c.Size)
	}
	if err := tlog.CheckRecord(proof, c.Size, c.Root, seq-1, leaf); err != nil {
		return fmt.Errorf("%w: the proof of entry %d fails", ErrTree, seq)
	}
	return nil
}
