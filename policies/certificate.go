package policies

import "slices"

// Verdict of the model release gate 模型合格检验.
type Verdict string

// Verdicts. VOID is a run whose control, a deliberately overfitted model, was not
// found out: it proves nothing, and nothing is released on it.
const (
	VerdictPass Verdict = "PASS"
	VerdictFail Verdict = "FAIL"
	VerdictVoid Verdict = "VOID"
)

// ModelAttack names a figure of the gate.
type ModelAttack string

// Attacks that every certificate holds a figure of (disclosure §7).
const (
	AttackStructure  ModelAttack = "structure"  // findings of the static scan
	AttackMembership ModelAttack = "membership" // AUC of calibrated LiRA
	AttackLowFPR     ModelAttack = "low_fpr"    // its true positives at 1 % false ones
	AttackTail       ModelAttack = "tail"       // at 0.1 %
	AttackWorst      ModelAttack = "worst_case" // share of significant repetitions
	AttackCanary     ModelAttack = "canary"     // ε lower bound of the one-run audit
	AttackAttribute  ModelAttack = "attribute"  // surplus over the control
	AttackInversion  ModelAttack = "inversion"  // surplus over the prior
	AttackInstance   ModelAttack = "instance"   // records given back
	AttackControl    ModelAttack = "control"    // attacks that found the overfitted control out
)

// ModelAttacks lists them.
var ModelAttacks = []ModelAttack{AttackStructure, AttackMembership, AttackLowFPR, AttackTail, AttackWorst, AttackCanary, AttackAttribute, AttackInversion, AttackInstance, AttackControl}

// HeldTo is which number of a figure its bound is held against.
type HeldTo string

// What a bound is held against: the estimate, or an end of its 95 % interval.
const (
	HeldValue HeldTo = "value"
	HeldLow   HeldTo = "low"
	HeldHigh  HeldTo = "high"
)

// ModelFigure is one figure of a certificate, in millionths.
type ModelFigure struct {
	Attack ModelAttack `json:"attack"`
	Value  int64       `json:"value"`
	Low    int64       `json:"low"`
	High   int64       `json:"high"`
	Bound  int64       `json:"bound"`
	Held   HeldTo      `json:"held"`
}

// Pass says whether a figure keeps its bound: at most the bound, and of the control
// at least.
func (f ModelFigure) Pass() bool {
	v := map[HeldTo]int64{HeldValue: f.Value, HeldLow: f.Low, HeldHigh: f.High}[f.Held]
	if f.Attack == AttackControl {
		return v >= f.Bound
	}
	return v <= f.Bound
}

// ModelCertificate 模型合格证 is what the gate found, as the ledger keeps it.
type ModelCertificate struct {
	Verdict Verdict `json:"verdict"`
	// Basis is what the verdict rests on: the gate's figures, or of an operator's own
	// module that no more than noised counts left.
	Basis   CertificateBasis `json:"basis,omitempty"`
	Figures []ModelFigure    `json:"figures,omitempty"` // one or more of each ModelAttack, in that order; none of a module
	Reasons []string         `json:"reasons,omitempty"`
	Units   int64            `json:"units"` // of training, rounded down to two digits
	Code    string           `json:"code"`  // version of the trainer and gate
	// Evaluation is the SHA-256 of the noised evaluation; absent where there is none.
	Evaluation string `json:"evaluation,omitempty"`
	// Report is the SHA-256 of the readable report's data; a module has none.
	Report string `json:"report,omitempty"`
}

// CertificateBasis is what a certificate's verdict rests on.
type CertificateBasis string

// Bases of certificates.
const (
	BasisGate CertificateBasis = ""       // a trained model: the attacks of the gate
	BasisOwn  CertificateBasis = "module" // an operator's module: nothing was trained on data
)

// CodeModuleHidden is the reason of a module's certificate whose counts the noise hides.
const CodeModuleHidden = "MODEL_TOO_FEW_UNITS"

// ModuleCertificate is the outcome of an operator's module. evaluation is the SHA-256 of
// the figures made of noised counts; empty when noise hides the units, and then nothing
// leaves.
func ModuleCertificate(evaluation, code string) ModelCertificate {
	c := ModelCertificate{Verdict: VerdictPass, Basis: BasisOwn, Code: code, Evaluation: evaluation}
	if evaluation == "" {
		c.Verdict, c.Reasons = VerdictVoid, []string{CodeModuleHidden}
	}
	return c
}

// judge derives the verdict.
func (c ModelCertificate) judge() (Verdict, error) {
	switch c.Basis {
	case BasisGate:
		return Judge(c.Figures)
	case BasisOwn:
		if len(c.Figures) > 0 || c.Units != 0 || c.Report != "" || c.Code == "" {
			return "", texts.Errorf("the certificate of a module holds figures of attacks, or no version")
		}
		if c.Evaluation == "" {
			return VerdictVoid, nil
		}
		return VerdictPass, nil
	}
	return "", texts.Errorf("the certificate names an unknown basis")
}

// most are the loosest bounds of a certificate; a gate may be stricter. A private
// model's membership bound follows from its ρ and lies below ε 4's, 0.75.
var most = map[ModelAttack]int64{
	AttackStructure: 0, AttackMembership: 600_000, AttackLowFPR: 60_000, AttackTail: 30_000, AttackWorst: 200_000, AttackCanary: 4_000_000,
	AttackAttribute: 20_000, AttackInversion: 20_000, AttackInstance: 0,
}

// LoosestBound is the loosest bound of an attack that a certificate may hold, in
// millionths.
func LoosestBound(a ModelAttack) int64 { return most[a] }

// Judge derives the verdict that figures give. It errs on a certificate that leaves an
// attack out, holds one to less than the product does, or counts other measures: a
// gateway cannot pass a model by leaving something away.
func Judge(figures []ModelFigure) (Verdict, error) {
	if len(figures) > 10*len(ModelAttacks) {
		return "", texts.Errorf("the certificate holds too many figures")
	}
	seen := map[ModelAttack]bool{}
	last, failed, void := 0, false, false
	for _, f := range figures {
		at := slices.Index(ModelAttacks, f.Attack)
		if at < 0 {
			return "", texts.Errorf("the certificate names an unknown attack")
		}
		if at < last {
			return "", texts.Errorf("the certificate's figures are out of order")
		}
		last, seen[f.Attack] = at, true
		if f.Low > f.Value || f.Value > f.High || f.Held != HeldValue && f.Held != HeldLow && f.Held != HeldHigh {
			return "", texts.Errorf("the certificate's figure of %s is none", f.Attack)
		}
		if top, ok := most[f.Attack]; ok && f.Bound > top || f.Attack == AttackControl && f.Bound < 1 {
			return "", texts.Errorf("the certificate holds %s to a looser bound than the product does", f.Attack)
		}
		if f.Attack == AttackControl {
			void = void || !f.Pass()
		} else {
			failed = failed || !f.Pass()
		}
	}
	for _, a := range ModelAttacks {
		if !seen[a] {
			return "", texts.Errorf("the certificate leaves out %s", a)
		}
	}
	switch {
	case void:
		return VerdictVoid, nil
	case failed:
		return VerdictFail, nil
	}
	return VerdictPass, nil
}

// Check holds a certificate to its figures.
func (c ModelCertificate) Check() error {
	v, err := c.judge()
	if err != nil {
		return err
	}
	if v != c.Verdict {
		return texts.Errorf("the certificate says %s where its figures say %s", c.Verdict, v)
	}
	if (v == VerdictPass) != (len(c.Reasons) == 0) {
		return texts.Errorf("the certificate's reasons do not fit its verdict")
	}
	return nil
}
