package federate

import (
	"errors"
	"slices"
	"sync"

	"github.com/sandgate/sandgate/compute/budget"
)

// Deed is what a node does once per session.
type Deed string

// Deeds of a node.
const (
	Contributed Deed = "contributed" // a contribution was made
	Answered    Deed = "answered"    // a decryption share was made
)

// Record is one deed. It is written before the deed, and never taken back: whether
// something left that was recorded, nobody can know after a crash.
type Record struct {
	V       int    `json:"v"`
	Deed    Deed   `json:"deed"`
	Session string `json:"session"`
	Key     string `json:"key"`
	Query   string `json:"query"`
	At      int64  `json:"at"` // Unix seconds
	// Of Answered: what was opened, for whose data, at what price.
	Manifest     string      `json:"manifest,omitempty"`
	Sum          string      `json:"sum,omitempty"`
	Contributors []string    `json:"contributors,omitempty"`
	Price        budget.Nano `json:"price,omitempty"`
}

// Encode is the record in its canonical form.
func (r *Record) Encode() []byte { return canonical(r) }

func (r *Record) check() bool {
	if r.V != Version || !isHash(r.Session) || !isHash(r.Key) || !isHash(r.Query) || r.At <= 0 {
		return false
	}
	switch r.Deed {
	case Contributed:
		return r.Manifest == "" && r.Sum == "" && r.Contributors == nil && r.Price == 0
	case Answered:
		return isHash(r.Manifest) && (r.Sum == "" || isHash(r.Sum)) && len(r.Contributors) >= MinContributors && ordered(r.Contributors) && r.Price > 0
	}
	return false
}

// Journal is what a node has done. It is safe for concurrent use. There is one per node,
// and it outlives the process: whoever keeps it on disk loads it before the first round.
type Journal struct {
	mu      sync.Mutex
	done    map[Deed]map[string]bool // by session
	keys    map[string]bool          // that this node has answered under
	answers []*Record
}

// LoadJournal reads the records of a journal, in the order in which they were written.
func LoadJournal(texts [][]byte) (*Journal, error) {
	j := &Journal{done: map[Deed]map[string]bool{Contributed: {}, Answered: {}}, keys: map[string]bool{}}
	for _, text := range texts {
		r, err := decode[Record](text)
		if err != nil || !r.check() {
			return nil, errors.New("failed to load journal of rounds: a record is not in canonical form")
		}
		if j.seen(r) {
			return nil, errors.New("failed to load journal of rounds: a deed stands twice")
		}
		j.put(r)
	}
	return j, nil
}

func (j *Journal) seen(r *Record) bool {
	return j.done[r.Deed][r.Session] || r.Deed == Answered && j.keys[r.Key]
}

func (j *Journal) put(r *Record) {
	j.done[r.Deed][r.Session] = true
	if r.Deed == Answered {
		j.keys[r.Key] = true
		j.answers = append(j.answers, r)
	}
}

// Has says whether the node has taken a session up to that deed.
func (j *Journal) Has(d Deed, session string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done[d][session]
}

// enter admits a deed once. write makes the record durable; if it fails, the deed may or
// may not stand on the disk, and the session is over for this process too.
func (j *Journal) enter(r *Record, k int, write func(text []byte) error) *Fault {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !r.check() {
		return fault("", codeInternal, "轮次日志的记录有误", "the record of the journal is malformed")
	}
	if j.seen(r) {
		return fault("", codeAgain, "本节点已为此轮次作答；同一密钥不作第二次解密，须另起一轮", "this node has answered this round: no key opens a second sum; start another round")
	}
	if r.Deed == Answered {
		if f := j.distinguishes(r.Query, r.Contributors, k); f != nil {
			return f
		}
	}
	err := write(r.Encode())
	j.put(r)
	if err != nil {
		return fault("", codeInternal, "轮次日志写入失败，本轮作废", "the journal could not be written; the round is over")
	}
	return nil
}

// Restore enters an answer of which only another trustworthy record, a domain's ledger, is
// left: the session is answered, under a key that stands for the one nobody knows any more.
// It does nothing if the journal has the answer.
func (j *Journal) Restore(p *Proposal, manifest string, at int64, write func(text []byte) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	session := p.Session()
	if j.done[Answered][session] {
		return nil
	}
	r := &Record{V: Version, Deed: Answered, Session: session, Key: digest("lost key", []byte(session)), Query: p.Query, At: at, Manifest: manifest, Contributors: p.Contributors, Price: p.Price()}
	if !r.check() {
		return errors.New("failed to restore journal of rounds: the answer is malformed")
	}
	if err := write(r.Encode()); err != nil {
		return err
	}
	j.put(r)
	return nil
}

// Admits says what the journal has against a sum over these contributors about the data of
// this digest (DataDigest), nil if nothing. It is asked before a round is joined, so that
// nobody pays for one that no holder would open; a sum that was opened meanwhile is seen
// when the deed is entered.
func (j *Journal) Admits(query string, contributors []string, k int) *Fault {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.distinguishes(query, contributors, k)
}

// distinguishes says whether the sums about the same data, with the new one, would tell
// fewer than k contributors apart: by any combination of them, not only by the difference
// of two.
func (j *Journal) distinguishes(query string, contributors []string, k int) *Fault {
	sets := [][]string{contributors}
	for _, a := range j.answers {
		if a.Query == query && !slices.ContainsFunc(sets, func(s []string) bool { return slices.Equal(s, a.Contributors) }) {
			sets = append(sets, a.Contributors)
		}
	}
	if TellsApart(sets, k) {
		return fault("", codeDifference, "与同一数据的先前结果相比，可区分出少于 %d 个参与方；请采用先前的参与方组合", "with earlier sums about the same data, fewer than %d contributors could be told apart; use the contributors of an earlier round", k)
	}
	return nil
}
