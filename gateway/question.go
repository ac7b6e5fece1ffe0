package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/engine"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// asked are a verification's commitments to its subject, of one moment.
type asked struct {
	epoch, first int    // of the key in force, and of that when the year began
	subject      string // by the key in force
	former       string // by that of the year's beginning, if it is another
	constant     string // by the first key there was, which questions stay equal by
}

// moved says whether the commitments are not those of an instant any more. Call it in
// the sequencer.
func (a asked) moved(s *state.State, at time.Time) bool {
	return a.subject != "" && (a.epoch != s.KeyEpoch(entry.KeyConsent) || a.first != s.ConsentEpochOf(at))
}

// askedOf commits to the subject of a question; false when the identifier is malformed.
func (d *Domain) askedOf(kind policies.UnitKind, id string, first int) (out asked, ok bool) {
	key, epoch := d.subjectKey()
	out = asked{epoch: epoch, first: first}
	if out.subject, ok = subjectBy(key, kind, id); !ok {
		return asked{}, false
	}
	if first < epoch {
		out.former, _ = subjectBy(d.subjectKeyOf(first), kind, id)
	}
	out.constant, _ = subjectBy(d.subjectKeyOf(0), kind, id)
	return out, true
}

// questionCommitment commits to a question by the key under which it was answered
// from this snapshot before, if it was, so that an answer outlives a rotation.
func (d *Domain) questionCommitment(text []byte, snapshot string) string {
	keys := d.commitKeys()
	first, _ := entry.Commit(keys[0].Key, text)
	out := first
	d.log.View(func() {
		for _, k := range keys {
			c, _ := entry.Commit(k.Key, text)
			if _, known := d.state.Told(c, snapshot); known {
				out = c
				return
			}
		}
	})
	return out
}

// questionText is what a question's commitment covers: two requests that would be
// answered by the same bit are one question, in any spelling and under any product.
func questionText(subject, dataset string, c engine.Check) ([]byte, error) {
	c.Values = slices.Clone(c.Values)
	for i := range c.Values {
		if c.Spelled {
			c.Values[i].S = engine.NormalText(c.Values[i].S)
		}
	}
	text, err := json.Marshal(struct {
		Subject, Dataset string
		Check            engine.Check
	}{subject, dataset, c})
	if err != nil {
		return nil, fmt.Errorf("failed to encode question: %w", err)
	}
	return append([]byte("sandgate/verification-question/v1\n"), text...), nil
}
