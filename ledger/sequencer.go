package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/sandgate/sandgate/ledger/wal"
	"golang.org/x/mod/sumdb/tlog"
)

// mostSpare bounds the buffer that is kept for the next batch.
const mostSpare = 1 << 20

// Do runs one command. While it holds the turn, decide looks at the machine's state and returns the entries to
// append, or an error, and then nothing is appended. The entries are applied and numbered; once they are durable
// Do returns their receipts, in order. All entries of a command are in the log, next to each other, or none.
//
// decide must only read the machine's state, must be quick, and must not call the log. Its error, and its decision
// to append nothing, are returned only when everything they may rest on is durable, so a retried command that
// finds itself carried out already can be answered like the first time.
//
// Errors: ErrEntryTooLarge and what decide or Apply return mean that nothing happened. So does the error of ctx
// alone. ErrOutcomeUnknown, beside the error of ctx or ErrStopped, means that the entries may or may not be in the
// log. If Apply refuses an entry after it accepted an earlier one of the same command the state no longer is that
// of the log, and the log stops.
func (l *Log) Do(ctx context.Context, decide func() ([][]byte, error)) ([]Receipt, error) {
	return l.do(ctx, decide, nil)
}

// do is Do; before is told the number of the first entry while nobody can have signed anything over it.
func (l *Log) do(ctx context.Context, decide func() ([][]byte, error), before func(seq uint64)) ([]Receipt, error) {
	select {
	case l.turn <- struct{}{}:
	case <-l.stopped:
		return nil, l.Err()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	first, entries, newest, err := l.step(ctx, decide, before)
	if newest == nil {
		return nil, err
	}
	if err == nil && len(entries) > 0 {
		// While the disk is being waited for.
		newest.hash(first, entries)
	}
	if waitErr := l.await(ctx, newest); waitErr != nil {
		if len(entries) > 0 {
			return nil, fmt.Errorf("%w: %w", ErrOutcomeUnknown, waitErr)
		}
		return nil, waitErr
	}
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, nil
	}
	return l.receiptsOf(newest, first, len(entries))
}

// step decides, applies and hands over to the committer. It gives the turn back. The caller answers only when
// newest, unless nil, is durable.
func (l *Log) step(ctx context.Context, decide func() ([][]byte, error), before func(seq uint64)) (first uint64, entries [][]byte, newest *batch, err error) {
	applying := false
	defer func() {
		if applying {
			l.stop(fmt.Errorf("failed to apply the entry before %d: the machine broke off, so its state may differ from the log", l.next))
		}
		<-l.turn
	}()
	if l.closing {
		return 0, nil, nil, ErrClosed
	}
	if err := errors.Join(l.Err(), ctx.Err()); err != nil {
		return 0, nil, nil, err
	}
	entries, err = decide()
	if err != nil || len(entries) == 0 {
		return 0, nil, l.newest, err
	}
	if len(entries) > MaxEntriesPerCommand {
		return 0, nil, nil, fmt.Errorf("command has %d entries, allowed are %d", len(entries), MaxEntriesPerCommand)
	}
	for i, entry := range entries {
		if len(entry) > MaxEntrySize {
			return 0, nil, nil, fmt.Errorf("%w: entry %d of the command has %d bytes, allowed are %d", ErrEntryTooLarge, i, len(entry), MaxEntrySize)
		}
	}
	for i, entry := range entries {
		applying = true
		err := l.machine.Apply(l.next+uint64(i), entry)
		applying = false
		if err != nil && i > 0 {
			l.stop(fmt.Errorf("failed to apply entry %d of a command after the ones before it: %w", i, err))
			return 0, nil, nil, l.Err()
		}
		if err != nil {
			return 0, nil, l.newest, fmt.Errorf("failed to apply entry: %w", err)
		}
	}
	first = l.next
	if before != nil {
		before(first)
	}
	l.enqueue(entries)
	return first, entries, l.newest, nil
}

// enqueue numbers and encodes the entries into the pending batch. The caller holds the turn. Encoding copies, so
// the caller of Do may reuse its entries even if it gave up waiting.
func (l *Log) enqueue(entries [][]byte) {
	l.pendingMu.Lock()
	defer l.pendingMu.Unlock()
	if l.pending == nil {
		l.pending = &batch{done: make(chan struct{}), first: l.next, records: l.spare}
		l.spare = nil
	}
	b := l.pending
	b.leaves.Add(len(entries))
	for i, entry := range entries {
		before := len(b.records)
		b.records, l.chain = wal.AppendRecord(b.records, l.chain, l.next, i < len(entries)-1, entry)
		b.lengths = append(b.lengths, len(b.records)-before)
		l.next++
	}
	l.newest = b
	wake(l.wakeCommit)
}

// await returns when b is durable.
func (l *Log) await(ctx context.Context, b *batch) error {
	select {
	case <-b.done:
		return b.err
	default:
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// View runs f while no command is deciding or applying, so that f sees a consistent state. The state may be ahead
// of the disk by what is being written; a reader that must not see such a state uses Do with a decide that appends
// nothing. f must be quick and must not call the log.
func (l *Log) View(f func()) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	f()
}

// commitLoop makes pending batches durable, one fsync each, and answers their callers.
func (l *Log) commitLoop() {
	defer close(l.committed)
	for {
		select {
		case <-l.wakeCommit:
			l.commit()
		case <-l.quitCommit:
			l.commit()
			return
		}
	}
}

func (l *Log) commit() {
	l.pendingMu.Lock()
	b := l.pending
	l.pending = nil
	l.pendingMu.Unlock()
	if b == nil {
		return
	}
	defer close(b.done)
	if b.err = l.Err(); b.err != nil {
		return
	}
	if err := l.file.Append(b.records, b.lengths); err != nil {
		l.stop(err)
		b.err = l.Err()
		return
	}
	// Callers and the barrier of later commands need no records any more.
	if cap(b.records) <= mostSpare {
		l.pendingMu.Lock()
		l.spare = b.records[:0]
		l.pendingMu.Unlock()
	}
	b.records, b.lengths = nil, nil
	wake(l.wakeIntegrate)
}

// Size is the number of durable entries.
func (l *Log) Size() uint64 { return l.file.Size() }

// Entry returns the durable entry at seq, checked against the hash chain, or ErrNotInLog.
func (l *Log) Entry(seq uint64) ([]byte, error) {
	if size := l.file.Size(); seq >= size {
		return nil, fmt.Errorf("%w: %d of %d", ErrNotInLog, seq, size)
	}
	entries, err := l.file.Read(seq, seq+1, MaxEntrySize)
	if err != nil {
		return nil, err
	}
	return entries[0], nil
}

// Receipt makes a receipt of a durable entry again: it promises what that of Do does, by a signature over this entry
// alone, under the key now in force.
func (l *Log) Receipt(seq uint64) (Receipt, error) {
	entry, err := l.Entry(seq)
	if err != nil {
		return Receipt{}, err
	}
	return l.receipt(seq, tlog.RecordHash(entry)), nil
}
