package policies

import (
	"regexp"
	"strings"
	"time"

	"filippo.io/torchwood"
)

// KindWitnessPolicy says who witnesses the ledger.
const KindWitnessPolicy Kind = "WitnessPolicy"

const (
	// maxWitnesses of a policy.
	maxWitnesses = 16
	// defaultPatience in minutes.
	defaultPatience = 10
	maxPatience     = 24 * 60
)

// witnessURL has no user, query or fragment.
var witnessURL = regexp.MustCompile(`^https?://(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~-]+)*/?$`)

// WitnessPolicy 见证规则 is the regulator's word on who must cosign the ledger's
// checkpoints (C2SP tlog-witness). It holds for every checkpoint that covers it, up
// to the next one; quorum 0 without witnesses ends it.
type WitnessPolicy struct {
	// Quorum is how many of the witnesses must cosign.
	Quorum int `yaml:"quorum" json:"quorum"`
	// FromLevel is the level, 1…6, from which answers wait for the witnesses; 0
	// leaves that to the departments.
	FromLevel int `yaml:"from_level,omitempty" json:"from_level,omitempty"`
	// PatienceMinutes is the silence after which the gateway raises an alarm and an
	// audit fails; 0 is 10, at most a day.
	PatienceMinutes int             `yaml:"patience_minutes,omitempty" json:"patience_minutes,omitempty"`
	Witnesses       []LedgerWitness `yaml:"witnesses,omitempty" json:"witnesses,omitempty"`
}

// LedgerWitness is one witness: whose it is, its key and where it listens.
type LedgerWitness struct {
	By  string `yaml:"by" json:"by"`   // party that runs it: the regulator or a department
	Key string `yaml:"key" json:"key"` // C2SP vkey of a cosignature/v1 key, name+hash+key
	URL string `yaml:"url" json:"url"` // submission prefix, http or https
}

// Name is the name in the witness's key.
func (w LedgerWitness) Name() string { n, _, _ := strings.Cut(w.Key, "+"); return n }

// Patience is the silence that is borne.
func (p WitnessPolicy) Patience() time.Duration {
	if p.PatienceMinutes == 0 {
		return defaultPatience * time.Minute
	}
	return time.Duration(p.PatienceMinutes) * time.Minute
}

// Witnesses returns the policy in force, nil when nobody witnesses. It must not be
// changed.
func (b *Book) Witnesses() *WitnessPolicy { return b.witnesses }

func (b *Book) putWitnessPolicy(p WitnessPolicy, a act) error {
	if !a.signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	if err := b.checkWitnessPolicy(p); err != nil {
		return err
	}
	b.witnesses = nil
	if p.Quorum > 0 {
		b.witnesses = &p
	}
	return nil
}

func (b *Book) checkWitnessPolicy(p WitnessPolicy) error {
	switch {
	case len(p.Witnesses) > maxWitnesses:
		return texts.Errorf("policy names %d witnesses, allowed are %d", len(p.Witnesses), maxWitnesses)
	case p.Quorum < 0 || p.Quorum > len(p.Witnesses):
		return texts.Errorf("quorum %d does not lie in 0…%d, the number of witnesses", p.Quorum, len(p.Witnesses))
	case p.Quorum == 0 && (len(p.Witnesses) > 0 || p.FromLevel != 0):
		return texts.Errorf("quorum 0 ends witnessing and goes without witnesses and from_level")
	case p.FromLevel < 0 || p.FromLevel > highestLevel:
		return texts.Errorf("from_level does not lie in %d…%d", lowestLevel, highestLevel)
	case p.PatienceMinutes < 0 || p.PatienceMinutes > maxPatience:
		return texts.Errorf("patience_minutes does not lie in 1…%d", maxPatience)
	}
	seen := map[string]bool{}
	for i, w := range p.Witnesses {
		party, ok := b.parties[w.By]
		if !ok || party.Withdrawn || party.Role != RoleRegulator && party.Role != RoleDepartment {
			return texts.Errorf("witness %d: %q is neither the regulator nor a department in the registry; whoever is watched does not witness", i+1, safeName(w.By))
		}
		if _, err := torchwood.NewCosignatureVerifier(w.Key); err != nil || len(w.Name()) > 128 {
			return texts.Errorf("witness %d: the key is not a cosignature key (name+hash+key, type 4); take what sandgate witness init prints", i+1)
		}
		if !witnessURL.MatchString(w.URL) || len(w.URL) > 256 {
			return texts.Errorf("witness %d: the url is not http(s)://HOST[:PORT][/PREFIX]", i+1)
		}
		_, rest, _ := strings.Cut(w.Key, "+")
		_, public, _ := strings.Cut(rest, "+")
		for _, s := range []string{"name " + w.Name(), "key " + public, "url " + w.URL} {
			if seen[s] {
				what, _, _ := strings.Cut(s, " ")
				return texts.Errorf("witness %d has the %s of another: one witness counts once", i+1, what)
			}
			seen[s] = true
		}
	}
	return nil
}

// decideWitnesses refuses a query whose answer would wait for witnesses that nobody
// has named.
func (b *Book) decideWitnesses(wait string) *Reason {
	if wait != WaitWitnessed || b.witnesses != nil {
		return nil
	}
	return reasonf("NO_WITNESSES", "WitnessPolicy", b.root, "数据要求经见证后发布，但没有生效的见证规则",
		"the data ask for witnessed answers, and no witness policy is in force").
		hint("请主管部门签发见证规则（kind: WitnessPolicy）", "the regulator signs a WitnessPolicy")
}

// Vouched verifies the signatures of a bundle by the keys of b, whether or not the
// bundle would take effect, and returns its documents and signers; next is b with the
// registry of the bundle in force, if it holds one. It is for a reader who has some
// of a ledger's bundles and not all: what depends on the others is not checked.
func (b *Book) Vouched(envelope []byte) (next *Book, docs []Document, signers map[string]bool, err error) {
	env, payload, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, nil, nil, err
	}
	if signers, err = verified(env, payload, b.key); err != nil {
		return nil, nil, nil, withoutNumbers(err)
	}
	if docs, err = ParseBundle(payload); err != nil {
		return nil, nil, nil, err
	}
	next = b.clone()
	for i, doc := range docs {
		if doc.Registry == nil {
			continue
		}
		if err := next.putRegistry(*doc.Registry, signers); err != nil {
			return nil, nil, nil, withoutNumbers(texts.Errorf("document %d (%s): %w", i+1, doc.Kind, err))
		}
	}
	return next, docs, signers, nil
}
