package policies

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// KindRegistration: the registration 登记 of a resource or product, signed by the
// regulator as the registrar 登记机构 (R11; 发改数据规〔2025〕26号).
const KindRegistration Kind = "Registration"

// RegistrationType is what a registration does.
type RegistrationType string

const (
	RegisterFirst      RegistrationType = "first"      // 首次登记
	RegisterChange     RegistrationType = "change"     // 变更登记; also renews
	RegisterCorrection RegistrationType = "correction" // 更正登记
	RegisterCancel     RegistrationType = "cancel"     // 注销登记
)

// maxRegistration is how long a registration holds, in years.
const maxRegistration = 3

// Registration is one act of the registrar.
type Registration struct {
	Subject Target           `yaml:"subject" json:"subject"` // a dataset or a product
	Code    string           `yaml:"code" json:"code"`       // 登记编码, opaque
	Type    RegistrationType `yaml:"type" json:"type"`
	// ValidUntil is at most three years after the first registration or the last
	// change takes effect; a change or correction without it keeps the old one.
	ValidUntil time.Time `yaml:"valid_until,omitempty" json:"valid_until,omitzero"`
	Note       Text      `yaml:"note,omitempty" json:"note,omitzero"`
}

// Registered is a subject's registration as it stands.
type Registered struct {
	Code       string
	Type       RegistrationType // last act
	Since      time.Time        // first registration or last change
	ValidUntil time.Time        // exclusive
	Cancelled  bool
}

// RegistrationOf returns a subject's registration, whether or not it still holds.
func (b *Book) RegistrationOf(t Target) (Registered, bool) { r, ok := b.registrations[t]; return r, ok }

// Registrations lists the subjects ever registered, by kind and id.
func (b *Book) Registrations() []Target {
	return slices.SortedFunc(maps.Keys(b.registrations), func(x, y Target) int {
		return slices.Compare([]string{string(x.Kind), x.ID}, []string{string(y.Kind), y.ID})
	})
}

// RegistrationRequired says whether the registry demands registration of whatever
// is offered.
func (b *Book) RegistrationRequired() bool { return b.registrationRequired }

// Registered says why a subject does not count as registered at an instant; nil
// when it does. It judges whether or not the registry demands registration.
func (b *Book) Registered(t Target, at time.Time) *Reason {
	what, rule := map[TargetKind]string{TargetDataset: "数据集", TargetProduct: "产品"}[t.Kind], "registration/"+t.ID
	r, ok := b.registrations[t]
	var x *Reason
	switch {
	case !ok:
		x = reasonf("REGISTRATION_MISSING", rule, b.root, "%[2]s“%[3]s”尚未登记", "%[1]s %[3]q is not registered", string(t.Kind), what, t.ID)
	case r.Cancelled:
		x = reasonf("REGISTRATION_CANCELLED", rule, b.root, "%[2]s“%[3]s”的登记已注销", "the registration of %[1]s %[3]q was cancelled", string(t.Kind), what, t.ID)
	case !at.Before(r.ValidUntil):
		x = reasonf("REGISTRATION_EXPIRED", rule, b.root, "%[2]s“%[3]s”的登记已于 %[4]s 到期", "the registration of %[1]s %[3]q expired on %[4]s", string(t.Kind), what, t.ID, Day(r.ValidUntil))
	default:
		return nil
	}
	return x.hint("由登记机构办理登记后执行 sandgate policy apply", "the registrar registers it and runs sandgate policy apply")
}

func (b *Book) putRegistration(r Registration, a act) error {
	if !a.signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	if r.Subject.Kind != TargetDataset && r.Subject.Kind != TargetProduct {
		return texts.Errorf("unknown subject kind %q; known: dataset, product", safeName(string(r.Subject.Kind)))
	}
	if err := checkID("subject", r.Subject.ID); err != nil {
		return err
	}
	if r.Code == "" {
		return texts.Errorf("code is missing")
	}
	if err := errors.Join(checkText("code", r.Code, 64), checkText("note.zh", r.Note.ZH, maxNote), checkText("note.en", r.Note.EN, maxNote)); err != nil {
		return err
	}
	next, err := b.succeed(r, a.at)
	if err != nil {
		return texts.Errorf("%s %q: %w", r.Subject.Kind, r.Subject.ID, err)
	}
	b.registrations[r.Subject] = next
	return nil
}

// succeed is the rule of succession: what a registration makes of the one before.
func (b *Book) succeed(r Registration, at time.Time) (Registered, error) {
	old, exists := b.registrations[r.Subject]
	live := exists && !old.Cancelled && at.Before(old.ValidUntil)
	for t, other := range b.registrations {
		if t != r.Subject && other.Code == r.Code {
			return old, texts.Errorf("the code was given to %s %q", t.Kind, t.ID)
		}
	}
	next, start := old, at
	switch r.Type {
	case RegisterFirst:
		if live {
			return old, texts.Errorf("it is registered already: use type change, correction or cancel")
		}
		if _, ok := b.datasets[r.Subject.ID]; !ok && r.Subject.Kind == TargetDataset {
			return old, texts.Errorf("it is not in the catalogue; apply its Catalogue first")
		}
		if r.ValidUntil.IsZero() {
			return old, texts.Errorf("valid_until is missing")
		}
		next = Registered{Code: r.Code, Since: at}
	case RegisterChange, RegisterCorrection:
		if !live {
			return old, texts.Errorf("type %s needs a registration that is in force; use type first", r.Type)
		}
		if r.Type == RegisterChange {
			if r.Code != old.Code {
				return old, texts.Errorf("a change keeps the code; a wrong code is put right by type correction")
			}
			next.Since = at
		} else {
			next.Code, start = r.Code, old.Since
		}
	case RegisterCancel:
		if !exists || old.Cancelled {
			return old, texts.Errorf("there is no registration to cancel")
		}
		if r.Code != old.Code || !r.ValidUntil.IsZero() {
			return old, texts.Errorf("a cancellation names the code in force and no valid_until")
		}
		next.Cancelled = true
	default:
		return old, texts.Errorf("unknown type %q; known: first, change, correction, cancel", safeName(string(r.Type)))
	}
	if !r.ValidUntil.IsZero() {
		if !r.ValidUntil.After(at) || r.ValidUntil.After(start.AddDate(maxRegistration, 0, 0)) {
			return old, texts.Errorf("valid_until must lie ahead, at most %d years after the registration or its last change takes effect", maxRegistration)
		}
		next.ValidUntil = r.ValidUntil
	}
	next.Type = r.Type
	return next, nil
}
