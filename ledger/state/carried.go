package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/internal/carry"
	"github.com/sandgate/sandgate/policies"
)

// CarriedFormat is the first line of every state snapshot 状态快照. It is raised when
// the meaning of what is carried changes and its layout does not.
const CarriedFormat = "sandgate-state/v1\n"

// SegmentSize is how many jobs, or verifications, are carried together. What has
// ended never changes, so a full segment is written once.
const SegmentSize = 4096

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// codecs carry a State: the book and the two long lists each by themselves.
type codecs struct {
	live          *carry.Codec[State]
	book          *carry.Codec[policies.Book]
	jobs          *carry.Codec[[]*Job]
	verifications *carry.Codec[[]*Verification]
	layout        string
}

// logKey stands for one key of a chain: the verifier is made of it again.
type logKey struct {
	Key  string
	From uint64
}

// moment stands for a time. A zone is its offset from UTC and no more, so that the
// encoding is the same wherever it is made.
type moment struct {
	Seconds int64
	Nanos   int
	Offset  int
}

var carried = sync.OnceValues(func() (*codecs, error) {
	r := &carry.Rules{}
	carry.Skip[State](r, "book", "jobs", "order", "answers", "requests")
	carry.Skip[verifications](r, "all", "order", "answers", "asked", "told", "subjects")
	carry.Skip[policies.Entry](r, "derived") // follows from the entry; Settled makes it again
	carry.Skip[policies.Book](r, "memory")   // likewise
	carry.Skip[entry.Request](r, "shared")   // of how it was read, not of what it says
	carry.Share[algebra.Core](r)
	carry.Custom(r, func(c *evidence.Chain) (out []logKey) {
		for _, t := range c.Terms() {
			out = append(out, logKey{t.Key, t.From})
		}
		return out
	}, func(keys []logKey) (*evidence.Chain, error) {
		if len(keys) == 0 {
			return nil, errors.New("the log has no key")
		}
		c := &evidence.Chain{}
		for _, k := range keys {
			if err := c.Follow(k.Key, k.From); err != nil {
				return nil, err
			}
		}
		return c, nil
	})
	carry.Custom(r, func(t time.Time) moment {
		_, offset := t.Zone()
		return moment{t.Unix(), t.Nanosecond(), offset}
	}, func(i moment) (time.Time, error) {
		t := time.Unix(i.Seconds, int64(i.Nanos)).UTC()
		if i.Offset != 0 {
			t = t.In(time.FixedZone("", i.Offset))
		}
		return t, nil
	})
	c := &codecs{}
	var errs [4]error
	c.live, errs[0] = carry.New[State](r)
	c.book, errs[1] = carry.New[policies.Book](r)
	c.jobs, errs[2] = carry.New[[]*Job](r)
	c.verifications, errs[3] = carry.New[[]*Verification](r)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("failed to lay out the state: %w", err)
	}
	c.layout = carry.Fingerprint(CarriedFormat, c.live.Layout(), c.book.Layout(), c.jobs.Layout(), c.verifications.Layout())
	return c, nil
})

// Layout names the fields that this program's state has, 16 hexadecimal digits:
// snapshots of another layout can be neither read nor compared.
func Layout() string {
	c, err := carried()
	if err != nil {
		return ""
	}
	return c.layout
}

// Segment is a run of jobs or verifications in their order.
type Segment struct {
	Hash  Hash
	Bytes int
	Text  []byte // nil in what a Recorder made, if it is as it was before
}

// Carried is a state in bytes.
type Carried struct {
	Size                uint64 // entries applied
	Live, Book          []byte
	Jobs, Verifications []Segment
}

// Head is what the hash of a state is taken of: format, layout, size, and the hashes
// of the parts.
func (c *Carried) Head() []byte {
	out := []byte(CarriedFormat + Layout() + "\n")
	out = binary.BigEndian.AppendUint64(out, c.Size)
	live, book := sha256.Sum256(c.Live), sha256.Sum256(c.Book)
	out = append(append(out, live[:]...), book[:]...)
	for _, list := range [][]Segment{c.Jobs, c.Verifications} {
		out = binary.BigEndian.AppendUint64(out, uint64(len(list)))
		for _, s := range list {
			out = append(out, s.Hash[:]...)
		}
	}
	return out
}

// Bytes that the state takes.
func (c *Carried) Bytes() int64 {
	n := int64(len(c.Live) + len(c.Book))
	for _, list := range [][]Segment{c.Jobs, c.Verifications} {
		for _, s := range list {
			n += int64(s.Bytes)
		}
	}
	return n
}

// Hash is the hash of the state.
func (c *Carried) Hash() Hash { return sha256.Sum256(c.Head()) }

// Recorder turns one state, as it grows, into bytes again and again, and does so only
// with what has changed. It is not safe for concurrent use.
type Recorder struct{ jobs, verifications track }

// track is what a Recorder knows of a list: the hashes of its segments, how long it
// was, and which of its members can still change.
type track struct {
	segments []Segment // without their texts
	size     int
	open     []int
}

// Capture is a state at one size, some of it not yet in bytes.
type Capture struct {
	r             *Recorder
	size          uint64
	live          []byte
	book          *policies.Book
	jobs          []run[Job]
	verifications []run[Verification]
}

// run is a segment that has changed.
type run[T any] struct {
	at      int // number of the segment
	members []*T
}

// Capture takes hold of s, which may go on to change once it returns; a book, and
// what has ended, never change. It takes the time that the small parts of the state
// take to write, and a look at every job since the last one.
func (r *Recorder) Capture(s *State) (*Capture, error) {
	c, err := carried()
	if err != nil {
		return nil, err
	}
	if s.genesis == nil {
		return nil, errors.New("failed to capture the state: there is none before the first entry")
	}
	return &Capture{
		r: r, size: s.next, live: c.live.Append(nil, s), book: s.book,
		jobs:          changed(&r.jobs, s.order, s.jobs, func(j *Job) bool { return j.Phase == PhaseReserved }),
		verifications: changed(&r.verifications, s.verifications.order, s.verifications.all, func(v *Verification) bool { return v.Phase == PhaseReserved }),
	}, nil
}

func changed[T any](t *track, order []string, all map[string]*T, open func(*T) bool) (out []run[T]) {
	var segments []int
	for _, at := range t.open {
		segments = append(segments, at/SegmentSize)
	}
	for at := t.size; at < len(order); at += SegmentSize - at%SegmentSize {
		segments = append(segments, at/SegmentSize)
	}
	slices.Sort(segments)
	t.open, t.size = nil, len(order)
	for _, n := range slices.Compact(segments) {
		first := n * SegmentSize
		ids := order[first:min(first+SegmentSize, len(order))]
		members := make([]*T, len(ids))
		for i, id := range ids {
			m := all[id]
			if open(m) {
				own := *m
				m = &own
				t.open = append(t.open, first+i)
			}
			members[i] = m
		}
		out = append(out, run[T]{n, members})
	}
	return out
}

// Carried writes the captured state. Call it for every capture, in order.
func (c *Capture) Carried() (*Carried, error) {
	by, err := carried()
	if err != nil {
		return nil, err
	}
	out := &Carried{Size: c.size, Live: c.live, Book: by.book.Append(nil, c.book)}
	out.Jobs = segments(&c.r.jobs, c.jobs, by.jobs)
	out.Verifications = segments(&c.r.verifications, c.verifications, by.verifications)
	return out, nil
}

func segments[T any](t *track, runs []run[T], by *carry.Codec[[]*T]) []Segment {
	out := append(make([]Segment, 0, len(t.segments)+len(runs)), t.segments...)
	for _, r := range runs {
		if r.at == len(out) {
			out = append(out, Segment{})
		}
		text := by.Append(nil, &r.members)
		out[r.at] = Segment{sha256.Sum256(text), len(text), text}
	}
	t.segments = withoutTexts(out)
	return out
}

func withoutTexts(list []Segment) []Segment {
	out := slices.Clone(list)
	for i := range out {
		out[i].Text = nil
	}
	return out
}

// Restore is the inverse of Carried: the state of which the hash is hash, and a
// Recorder that goes on from it. Nothing is read before the hashes fit.
func Restore(c *Carried, hash Hash) (*State, *Recorder, error) {
	by, err := carried()
	if err != nil {
		return nil, nil, err
	}
	if c.Hash() != hash {
		return nil, nil, errors.New("failed to restore the state: it is not the one of this hash")
	}
	s, book := &State{}, &policies.Book{}
	if err := errors.Join(by.live.Decode(c.Live, s), by.book.Decode(c.Book, book)); err != nil {
		return nil, nil, fmt.Errorf("failed to restore the state: %w", err)
	}
	if s.next != c.Size || s.genesis == nil || s.filter == nil {
		return nil, nil, errors.New("failed to restore the state: it is of another size than it says")
	}
	s.book = book.Settled()
	jobs, err := read(c.Jobs, by.jobs)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to restore jobs: %w", err)
	}
	verifications, err := read(c.Verifications, by.verifications)
	if err != nil {
		return nil, nil, fmt.Errorf("failed to restore verifications: %w", err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.order, s.jobs = index(jobs, func(j *Job) string { return j.Request.Job }) })
	wg.Go(func() { s.requests = requestsOf(jobs) })
	wg.Go(func() { s.answers = answersOf(jobs) })
	v := &s.verifications
	wg.Go(func() {
		v.order, v.all = index(verifications, func(v *Verification) string { return v.Request.Verification })
	})
	wg.Go(func() { v.answers = v.answersOf(verifications) })
	wg.Go(func() { v.recount(verifications) })
	wg.Wait()
	r := &Recorder{
		jobs:          trackOf(c.Jobs, jobs, func(j *Job) bool { return j.Phase == PhaseReserved }),
		verifications: trackOf(c.Verifications, verifications, func(v *Verification) bool { return v.Phase == PhaseReserved }),
	}
	return s, r, nil
}

// read decodes segments, each on the processor that is free.
func read[T any](list []Segment, by *carry.Codec[[]*T]) ([]*T, error) {
	parts, errs := make([][]*T, len(list)), make([]error, len(list))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(list)) {
		wg.Go(func() {
			for i := range next {
				if list[i].Bytes = len(list[i].Text); sha256.Sum256(list[i].Text) != list[i].Hash {
					errs[i] = fmt.Errorf("segment %d is not the one of its hash", i)
					continue
				}
				errs[i] = by.Decode(list[i].Text, &parts[i])
				if errs[i] == nil && (len(parts[i]) == 0 || len(parts[i]) > SegmentSize || i < len(list)-1 && len(parts[i]) != SegmentSize || slices.Contains(parts[i], nil)) {
					errs[i] = fmt.Errorf("segment %d does not hold what a segment holds", i)
				}
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
	return slices.Concat(parts...), errors.Join(errs...)
}

func index[T any](list []*T, id func(*T) string) (order []string, all map[string]*T) {
	all = make(map[string]*T, len(list))
	for _, m := range list {
		order = append(order, id(m))
		all[id(m)] = m
	}
	return order, all
}

func requestsOf(jobs []*Job) map[string]string {
	out := make(map[string]string, len(jobs))
	for _, j := range jobs {
		out[requestKey(j.Operator, j.Request.Request)] = j.Request.Job
	}
	return out
}

// answersOf finds for every question the job that was released last.
func answersOf(jobs []*Job) map[string]string {
	out, when := make(map[string]string, len(jobs)), make(map[string]uint64, len(jobs))
	for _, j := range jobs {
		if j.Released == nil || j.Reserved == nil {
			continue
		}
		if key := answerKey(j.Request.Query, j.Reserved.Snapshots); j.FinishSeq >= when[key] {
			out[key], when[key] = j.Request.Job, j.FinishSeq
		}
	}
	return out
}

// answersOf finds for every question the verification that answered it from data first.
func (v *verifications) answersOf(list []*Verification) map[string]string {
	out, when := make(map[string]string, len(list)), make(map[string]uint64, len(list))
	for _, x := range list {
		if x.Answered == nil || x.Reserved == nil || x.Answered.Ground != entry.GroundData {
			continue
		}
		key := questionKey(x.Request.Question, x.Reserved.Snapshot)
		if first, ok := when[key]; !ok || x.FinishSeq < first {
			out[key], when[key] = x.Request.Verification, x.FinishSeq
		}
	}
	return out
}

// recount makes the counters of the year and the month in which the last was reserved.
func (v *verifications) recount(list []*Verification) {
	fresh := newVerifications()
	v.asked, v.told, v.subjects = fresh.asked, fresh.told, fresh.subjects
	for _, x := range slices.Backward(list) {
		at := time.UnixMilli(x.At)
		if Year(at) < v.year {
			break // an entry's time never goes back
		}
		if x.Reserved == nil {
			continue // what was refused begins no year
		}
		v.countYear(x)
		if at.In(civil).Format(monthForm) == v.month {
			v.countMonth(x)
		}
	}
}

func trackOf[T any](list []Segment, members []*T, open func(*T) bool) track {
	t := track{size: len(members), segments: withoutTexts(list)}
	for i, m := range members {
		if open(m) {
			t.open = append(t.open, i)
		}
	}
	return t
}
