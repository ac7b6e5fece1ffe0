package entry

import (
	"errors"
	"regexp"

	"github.com/sandgate/sandgate/policies"
)

// KindRoundVerdict is what the domain's gate says of a model that rounds have trained.
const KindRoundVerdict Kind = "round.verdict"

// RoundModel is the training that a round is a pass of. All of it is public, as the
// specification of a model product is: no salt stands against guesses at it.
type RoundModel struct {
	Run  string             `json:"run"`  // 32 hexadecimal digits
	Spec policies.ModelSpec `json:"spec"` // as it was asked for
	// Decryptors, Dishonest and Retries are those of all its rounds: noise and price follow
	// from them.
	Decryptors int `json:"decryptors"`
	Dishonest  int `json:"dishonest"`
	Retries    int `json:"retries"`
	Pass       int `json:"pass"` // which of its passes the round answers, from 0
}

// RoundVerdict is what the domain signed of a trained model, before it is told: once for
// each run. It holds the gate's whole report, which is decided again.
type RoundVerdict struct {
	Run     string `json:"run"`
	Verdict []byte `json:"verdict"` // fit.Verdict
	Sig     []byte `json:"sig"`     // of the domain's party, over the DSSE pre-authentication encoding
}

// MaxRoundVerdict bounds the text of a verdict in bytes, so that its entry is one.
const MaxRoundVerdict = 44 << 10

var roundRun = regexp.MustCompile(`^[0-9a-f]{32}$`)

func (m *RoundModel) check() error {
	if !roundRun.MatchString(m.Run) || m.Pass < 0 || m.Decryptors < 0 || m.Dishonest < 0 || m.Retries < 0 {
		return errors.New("the training of a round lacks its run, or its numbers are out of range")
	}
	return nil
}

func (v *RoundVerdict) check() error {
	if !roundRun.MatchString(v.Run) || len(v.Verdict) == 0 || len(v.Verdict) > MaxRoundVerdict || len(v.Sig) == 0 {
		return errors.New("a verdict without run, text or signature")
	}
	return nil
}
