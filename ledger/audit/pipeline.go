package audit

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"sync/atomic"

	"filippo.io/torchwood"

	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/second"
	"github.com/sandgate/sandgate/ledger/verify"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/request"
)

// Decisions follow from one another and are replayed one by one, on one core. What
// does not depend on them is done ahead on the other: hashes, decoding, signatures,
// and the second reader's way through the tiles.

// ahead is how many runs of entries each stage may be ahead of the next: it bounds the
// memory, to a few megabytes.
const ahead = 8

// run is some entries in order.
type run struct {
	first   uint64
	texts   [][]byte
	entries []*entry.Entry
	errs    []error // parallel to entries; set where there is none
}

// source hands out the entries of a ledger in order.
type source func(ctx context.Context, hand func(first uint64, texts [][]byte) error) error

// replay visits every entry of the source. The source's error is returned unless visit
// gives one.
func (a *auditor) replay(ctx context.Context, from source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var book atomic.Pointer[policies.Book]
	book.Store(a.state.Book())
	read, decoded := make(chan *run, ahead), make(chan *run, ahead)
	done := make(chan error, 1)
	go func() {
		defer close(read)
		done <- from(ctx, func(first uint64, texts [][]byte) error {
			select {
			case read <- &run{first: first, texts: texts}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	go func() {
		defer close(decoded)
		p := preparer{decoder: entry.NewDecoder(), prover: request.NewProver()}
		for r := range read {
			p.prepare(r, book.Load())
			select {
			case decoded <- r:
			case <-ctx.Done():
				for range read { // the source sees that too and ends
				}
				return
			}
		}
	}()
	var failed error
	for r := range decoded {
		for i := range r.texts {
			if failed == nil {
				failed = a.visit(r.first+uint64(i), r.entries[i], r.errs[i], r.texts[i])
			}
		}
		book.Store(a.state.Book())
		a.garbage.watch()
		if failed != nil {
			cancel()
		}
	}
	err := <-done
	if failed != nil {
		return failed
	}
	return err
}

// preparer decodes entries and verifies their signatures ahead of the replay.
type preparer struct {
	decoder *entry.Decoder
	prover  *request.Prover
}

// prepare takes the parties' keys from a book that may be behind the entries: what
// was signed by a key that came since, the replay verifies itself.
func (p *preparer) prepare(r *run, book *policies.Book) {
	r.entries, r.errs = make([]*entry.Entry, len(r.texts)), make([]error, len(r.texts))
	keys := map[string][]byte{}
	var claims []request.Claim
	for i, text := range r.texts {
		e, err := p.decoder.Decode(text)
		r.entries[i], r.errs[i] = e, err
		if err != nil || e.Signed == nil || book == nil {
			continue
		}
		party := e.Signed.Statement.Party
		key, known := keys[party]
		if !known {
			key, _ = book.PartyKey(party)
			keys[party] = key
		}
		if key != nil {
			claims = append(claims, request.Claim{Signed: e.Signed, Key: key})
		}
	}
	p.prover.Prove(claims)
}

// confirmation is what the second reader found while the first was still at work.
type confirmation struct {
	checkpoint []byte
	key        string
	tree       second.Tree
	err        error
}

// confirm sets the second reader on the copy as it lies there. The channel gives one
// answer; nil when it could not begin.
func confirm(ctx context.Context, dir string, keys *evidence.Chain) <-chan *confirmation {
	out := make(chan *confirmation, 1)
	go func() {
		out <- func() *confirmation {
			root, err := os.OpenRoot(dir)
			if err != nil {
				return nil
			}
			defer root.Close()
			raw, err := fs.ReadFile(root.FS(), "checkpoint")
			if err != nil {
				return nil
			}
			text, _, _ := bytes.Cut(raw, []byte("\n\n"))
			cp, err := torchwood.ParseCheckpoint(string(text) + "\n")
			if err != nil || cp.N < 0 {
				return nil
			}
			c := &confirmation{checkpoint: raw, key: keys.Of(uint64(cp.N)).Key}
			c.tree, c.err = second.Check(ctx, root.FS(), []string{c.key}, raw)
			return c
		}()
	}()
	return out
}

// stream is the source that checks hashes and hands out in one pass; authentic is set
// before it ends.
func stream(dir string, verifier *evidence.Chain, progress func(done, total uint64), res *verify.Result, authentic *bool) source {
	return func(ctx context.Context, hand func(uint64, [][]byte) error) (err error) {
		*res, *authentic, err = verify.Stream(ctx, dir, verifier, hand, progress)
		return err
	}
}

// checked is the source that hands out nothing before all hashes were checked.
func checked(dir string, verifier *evidence.Chain, progress func(done, total uint64), res *verify.Result, authentic *bool) source {
	return func(ctx context.Context, hand func(uint64, [][]byte) error) (err error) {
		*authentic = true // what is handed out is
		var first uint64
		var texts [][]byte
		flush := func() error {
			if len(texts) == 0 {
				return nil
			}
			out := texts
			texts = nil
			return hand(first, out)
		}
		*res, err = verify.Dir(ctx, dir, verifier, func(seq uint64, text []byte) error {
			if len(texts) == 0 {
				first = seq
			}
			texts = append(texts, bytes.Clone(text))
			if len(texts) < torchwood.TileWidth {
				return nil
			}
			return flush()
		}, progress)
		return errors.Join(err, flush())
	}
}
