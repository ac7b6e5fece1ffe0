package state

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/protect"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/policies"
)

// Announcement is the next checkpoint key with its place in the ledger.
type Announcement struct {
	entry.Announced
	Seq uint64
}

// KeyChange is when a key came into force.
type KeyChange struct {
	Name string // "" for a secret key that was never rotated
	Seq  uint64
	At   int64 // Unix milliseconds
}

// rotation is what the ledger says of the gateway's keys.
type rotation struct {
	chain     *evidence.Chain
	announced *Announcement
	receipts  []evidence.ReceiptTerm
	handed    []string             // checkpoints under which log keys were handed over
	steps     []uint64             // entries that handed them over, two each
	inForce   map[string]KeyChange // by key
	epochs    map[string]int       // token, commit, consent, ca
	oldest    map[string]int       // first epoch that is not erased: token, ca
	consents  []int64              // when consent keys came into force, Unix milliseconds
	// exact are the token epochs of each data set's exact jobs.
	exact map[string][]int
}

func newRotation() rotation {
	return rotation{inForce: map[string]KeyChange{}, epochs: map[string]int{}, oldest: map[string]int{}, exact: map[string][]int{}}
}

func (r *rotation) begin(g *entry.Genesis, receipt ed25519.PublicKey, at int64) error {
	chain, err := evidence.NewChain(g.LogKey)
	if err != nil {
		return err
	}
	r.chain, r.receipts = chain, []evidence.ReceiptTerm{{Key: receipt, Until: math.MaxUint64}}
	for _, key := range []string{entry.KeyStorage, entry.KeyToken, entry.KeyCommit, entry.KeyConsent, entry.KeyServer, entry.KeyCA} {
		r.inForce[key] = KeyChange{At: at}
	}
	r.inForce[entry.KeyLog], r.inForce[entry.KeyReceipt] = KeyChange{Name: g.LogKey, At: at}, KeyChange{Name: g.ReceiptKey, At: at}
	return nil
}

// LogKeys are the checkpoint keys, a copy; nil before genesis.
func (s *State) LogKeys() *evidence.Chain {
	if s.keys.chain == nil {
		return nil
	}
	return s.keys.chain.Clone()
}

// ReceiptKeys are the receipt keys with their terms, oldest first.
func (s *State) ReceiptKeys() []evidence.ReceiptTerm { return slices.Clone(s.keys.receipts) }

// Handovers are the checkpoints of old keys over the announcements of new ones.
func (s *State) Handovers() []string { return slices.Clone(s.keys.handed) }

// Announced is the next checkpoint key that is not in force yet, nil for none.
func (s *State) Announced() *Announcement { return s.keys.announced }

// KeyInForce is when a key came into force, and its name.
func (s *State) KeyInForce(key string) KeyChange { return s.keys.inForce[key] }

// KeyEpoch is the number of rotations of the token, commit, consent or ca key.
func (s *State) KeyEpoch(key string) int { return s.keys.epochs[key] }

// OldestToken is the first epoch of the token key that is not erased.
func (s *State) OldestToken() int { return s.keys.oldest[entry.KeyToken] }

// TokensBefore lists the data sets whose snapshot in force was tokenised before an
// epoch, sorted.
func (s *State) TokensBefore(epoch int) []string {
	var out []string
	for id, snap := range s.snapshots {
		if snap.Epoch < epoch {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// ExactBefore lists the data sets with exact jobs under token keys before an
// epoch, sorted: with a snapshot of that epoch they answer nothing exactly.
func (s *State) ExactBefore(epoch int) []string {
	var out []string
	for id, epochs := range s.keys.exact {
		if s.Exact(id) && slices.Min(epochs) < epoch {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Answered says whether a query with this commitment was answered on the snapshots
// of the data sets that are in force.
func (s *State) Answered(query string, datasets []string) bool {
	var snapshots []string
	for _, id := range datasets {
		snapshots = append(snapshots, s.snapshots[id].Snapshot)
	}
	_, ok := s.answers[answerKey(query, snapshots)]
	return ok
}

// CheckRotate says whether a party may rotate keys. What was begun the gateway
// itself carries on.
func (s *State) CheckRotate(actor string) *policies.Reason {
	return s.book.Authorize(actor, policies.ActRotateKey, policies.Resource{})
}

// applyAnnounced takes an announcement; it replaces one that waits, whose key may
// be lost.
func (s *State) applyAnnounced(e *entry.Entry) error {
	a := e.Announced
	if x := s.CheckRotate(e.Actor); x != nil {
		return x
	}
	now := s.keys.chain.Newest()
	if a.From != now.Key {
		return errors.New("the announcement does not follow from the checkpoint key in force")
	}
	// A chain that would not take the key must be found here and not at its change.
	next := s.keys.chain.Clone()
	if err := next.Follow(a.To, e.Seq+2); err != nil {
		return err
	}
	text := evidence.RotationText(s.genesis.Origin, a.Key, a.From, a.To, e.Seq)
	if !now.Verifier.Verify(text, a.Old) {
		return errors.New("the announcement is not signed by the checkpoint key in force")
	}
	if !next.Newest().Verifier.Verify(text, a.New) {
		return errors.New("the announcement is not signed by the key it announces")
	}
	s.keys.announced = &Announcement{*a, e.Seq}
	return nil
}

func (s *State) applyRotated(e *entry.Entry) error {
	r := e.Rotated
	if r.Key == entry.KeyLog {
		return s.applyLogKey(e)
	}
	// A gateway finishes at start what a crash broke off: it may move data keys, which
	// it holds, and nothing that others rely on.
	if e.Actor != "gateway" || r.Key != entry.KeyStorage {
		if x := s.CheckRotate(e.Actor); x != nil {
			return x
		}
	}
	if r.From == r.To {
		return errors.New("a rotation names one key twice")
	}
	if have := s.keys.inForce[r.Key].Name; have != "" && have != r.From && r.Key != entry.KeyStorage {
		return fmt.Errorf("the rotation does not follow from the %s key in force", r.Key)
	}
	if x := s.CheckTurn(r.Key); x != nil {
		return x
	}
	switch r.Key {
	case entry.KeyStorage:
		s.storageKey = r.To
	case entry.KeyReceipt:
		if err := s.applyReceiptKey(e); err != nil {
			return err
		}
	case entry.KeyToken, entry.KeyCommit, entry.KeyConsent, entry.KeyCA:
		if r.Epoch != s.keys.epochs[r.Key]+1 {
			return fmt.Errorf("the %s key of epoch %d does not follow epoch %d", r.Key, r.Epoch, s.keys.epochs[r.Key])
		}
		s.keys.epochs[r.Key] = r.Epoch
		if r.Key == entry.KeyConsent {
			s.keys.consents = append(s.keys.consents, e.At)
		}
	}
	s.keys.inForce[r.Key] = KeyChange{r.To, e.Seq, e.At}
	return nil
}

func (s *State) applyReceiptKey(e *entry.Entry) error {
	r := e.Rotated
	next, err := policies.ParseKey(r.To)
	if err != nil {
		return fmt.Errorf("receipt key: %w", err)
	}
	text := evidence.RotationText(s.genesis.Origin, r.Key, r.From, r.To, e.Seq)
	last := len(s.keys.receipts) - 1
	if !ed25519.Verify(s.keys.receipts[last].Key, text, r.Old) || !ed25519.Verify(next, text, r.New) {
		return errors.New("the rotation is not signed by both receipt keys")
	}
	if slices.ContainsFunc(s.keys.receipts, func(t evidence.ReceiptTerm) bool { return t.Key.Equal(next) }) {
		return errors.New("the receipt key was in force before")
	}
	// Its own receipt is signed by the new key.
	s.keys.receipts = slices.Clone(s.keys.receipts)
	s.keys.receipts[last].Until = e.Seq
	s.keys.receipts = append(s.keys.receipts, evidence.ReceiptTerm{Key: next, Until: math.MaxUint64})
	return nil
}

// applyLogKey puts the announced key in force, for every tree that holds this
// entry. The old key's checkpoint over the announcement shows that it was seen to
// agree by whoever follows its checkpoints.
func (s *State) applyLogKey(e *entry.Entry) error {
	if err := s.gateway(e); err != nil {
		return err
	}
	a, r := s.keys.announced, e.Rotated
	if a == nil || r.From != a.From || r.To != a.To {
		return errors.New("the checkpoint key was not announced")
	}
	cp, err := evidence.OpenCheckpoint([]byte(r.Checkpoint), s.keys.chain)
	if err != nil {
		return err
	}
	if uint64(cp.N) <= a.Seq || uint64(cp.N) > e.Seq {
		return errors.New("the checkpoint does not cover the announcement, or more than there is")
	}
	next := s.keys.chain.Clone()
	if err := next.Follow(r.To, e.Seq+1); err != nil {
		return err
	}
	s.keys.chain, s.keys.announced = next, nil
	s.keys.handed = append(s.keys.handed, r.Checkpoint)
	s.keys.steps = append(s.keys.steps, a.Seq, e.Seq)
	s.keys.inForce[r.Key] = KeyChange{r.To, e.Seq, e.At}
	return nil
}

// CheckErase says whether the token keys up to an epoch may be erased: no snapshot
// in force was made by one of them.
func (s *State) CheckErase(epoch int) error {
	if epoch < s.keys.oldest[entry.KeyToken] || epoch >= s.keys.epochs[entry.KeyToken] {
		return errors.New("no retired token key is of this epoch")
	}
	if left := s.TokensBefore(epoch + 1); len(left) > 0 {
		return fmt.Errorf("data set %q was tokenised by a key that is to be erased", left[0])
	}
	return nil
}

func (s *State) applyErased(e *entry.Entry) error {
	if e.Erased.Key == entry.KeyCA {
		if x := s.CheckRetire(e.Actor, e.Erased.Epoch); x != nil {
			return x
		}
	} else {
		if err := s.gateway(e); err != nil {
			return err
		}
		if err := s.CheckErase(e.Erased.Epoch); err != nil {
			return err
		}
	}
	s.keys.oldest[e.Erased.Key] = e.Erased.Epoch + 1
	return nil
}

// CheckEpoch refuses a snapshot that was tokenised by a key that is erased, or that
// the ledger does not know.
func (s *State) CheckEpoch(epoch int) *policies.Reason {
	if epoch >= s.keys.oldest[entry.KeyToken] && epoch <= s.keys.epochs[entry.KeyToken] {
		return nil
	}
	return &policies.Reason{Code: "TOKEN_KEY_MOVED", Rule: "keys", SetBy: "sandgate",
		ZH: "入库期间令牌密钥已轮换，旧密钥已销毁；原快照不变", EN: "the token key was replaced during the ingest and the one before is erased; the old snapshot stands",
		HintZH: "请重新入库", HintEN: "ingest the file again"}
}

// oneEpoch refuses to join data sets by tokens of different keys: the same person
// would be two.
func (s *State) oneEpoch(core algebra.Core) *policies.Reason {
	first := map[policies.UnitKind]string{}
	for _, id := range core.Datasets() {
		e, _ := s.book.Dataset(id)
		if e.Dataset.Unit == nil {
			continue
		}
		other, seen := first[e.Dataset.Unit.Kind]
		if !seen {
			first[e.Dataset.Unit.Kind] = id
			continue
		}
		if a, b := s.snapshots[other], s.snapshots[id]; a.Epoch != b.Epoch {
			if a.Epoch < b.Epoch {
				id = other
			}
			behind, _ := s.book.Dataset(id)
			return &policies.Reason{Code: "TOKEN_EPOCHS_DIFFER", Rule: "catalogue/" + id, SetBy: behind.Department,
				ZH:     "令牌密钥已轮换，数据集“" + id + "”尚未用新密钥入库，不能与已入库的数据集关联",
				EN:     "the token key was replaced and data set \"" + id + "\" was not ingested since, so it cannot be joined with one that was",
				HintZH: "由" + behind.Department + "重新入库该数据集", HintEN: "have " + behind.Department + " ingest the data set again"}
		}
	}
	return nil
}

// exactEpoch refuses exact answers that could not be held against earlier ones,
// because the same unit bears another token there.
func (s *State) exactEpoch(dataset string) *policies.Reason {
	now := s.snapshots[dataset].Epoch
	if !slices.ContainsFunc(s.keys.exact[dataset], func(n int) bool { return n != now }) {
		return nil
	}
	e, _ := s.book.Dataset(dataset)
	return &policies.Reason{Code: "EXACT_EPOCH", Rule: "catalogue/" + dataset, SetBy: e.Department,
		ZH:     "数据集“" + dataset + "”已按旧令牌密钥精确发布过，换钥后新查询无法与之比对，不再以精确方式答复",
		EN:     "data set \"" + dataset + "\" released exactly under an earlier token key; nothing new can be held against that, so it answers nothing exactly any more",
		HintZH: "由数源部门改用 mode: dp", HintEN: "the department may put it into mode: dp"}
}

// exactReserved notes the token epoch of an exact job when it is reserved, and not
// when it releases: two that run at once must not miss each other.
func (s *State) exactReserved(r *entry.Reserved) {
	if r.Mode != string(protect.ModeExact) {
		return
	}
	id := r.Request.Core.Tables[0].Dataset
	if now := s.snapshots[id].Epoch; !slices.Contains(s.keys.exact[id], now) {
		s.keys.exact[id] = append(s.keys.exact[id], now)
	}
}

// checkCommitEpoch refuses a commitment under a key that the ledger does not know.
func (s *State) checkCommitEpoch(r entry.Request) error {
	if r.Epoch < 0 || r.Epoch > s.keys.epochs[entry.KeyCommit] {
		return errors.New("the query is committed to under a key that is not in force")
	}
	return nil
}

// LogHandovers are the entries by which the checkpoint key was handed over, in order:
// each announcement and its change.
func (s *State) LogHandovers() []uint64 { return slices.Clone(s.keys.steps) }

// HandOver takes an entry into a chain of checkpoint keys that somebody puts together
// from entries in their order, and returns the announcement that waits for its
// KindRotated. What it takes, the key before has signed.
func HandOver(chain *evidence.Chain, seq uint64, e *entry.Entry, next *entry.Announced) *entry.Announced {
	switch {
	case e.Announced != nil:
		a := e.Announced
		text := evidence.RotationText(chain.Name(), a.Key, a.From, a.To, seq)
		if a.From != chain.Newest().Key || !chain.Verify(text, a.Old) {
			return nil
		}
		return a
	case next != nil && e.Rotated != nil && e.Rotated.Key == entry.KeyLog && e.Rotated.To == next.To:
		if chain.Follow(next.To, seq+1) == nil {
			return nil
		}
	}
	return next
}
