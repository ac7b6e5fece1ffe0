package policies

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// KindOrder is an order to rectify, suspend, resume or end (R27).
const KindOrder Kind = "Order"

// OrderStage is what an order does.
type OrderStage string

const (
	StageRectify OrderStage = "rectify" // 责令整改 until a date
	StageSuspend OrderStage = "suspend" // 暂停
	StageResume  OrderStage = "resume"  // 恢复
	StageEnd     OrderStage = "end"     // 终止
	// StageNotice 提示 holds nothing up; a StandingOrder alone gives it.
	StageNotice OrderStage = "notice"
)

// Order 监管决定 of the regulator, on anything, or of a department, on its own data
// sets and on the licences that grant them.
type Order struct {
	ID     string     `yaml:"id" json:"id"`
	By     string     `yaml:"by" json:"by"` // party that signs
	Target Target     `yaml:"target" json:"target"`
	Stage  OrderStage `yaml:"stage" json:"stage"`
	// Due is until when to rectify.
	Due time.Time `yaml:"due,omitempty" json:"due,omitzero"`
	// Lifts names the order that a resumption lifts; empty is every suspension of
	// the target that By may lift.
	Lifts  string `yaml:"lifts,omitempty" json:"lifts,omitempty"`
	Reason Text   `yaml:"reason" json:"reason"`
	Basis  Text   `yaml:"basis" json:"basis"` // law or agreement, by article
}

// OrderRecord is an order in force and what became of it.
type OrderRecord struct {
	Order Order
	At    time.Time
	// Closed is the order that lifted or fulfilled it; empty while it is open.
	Closed   string
	ClosedAt time.Time
	// Standing is the standing order that the gateway carried out by it, and Occasion
	// what met its condition; empty of an order that a party gave itself.
	Standing, Occasion string
}

// Overdue says whether an order to rectify has run out without being closed.
func (r OrderRecord) Overdue(at time.Time) bool {
	return r.Order.Stage == StageRectify && r.Closed == "" && !at.Before(r.Order.Due)
}

// String is a target's name, "licence/alpha-2026" or "gateway".
func (t Target) String() string {
	if t.Kind == TargetGateway {
		return string(t.Kind)
	}
	return string(t.Kind) + "/" + t.ID
}

// ParseTarget reads what Target.String writes. Whether there is such a thing is
// for the Book to say.
func ParseTarget(text string) (Target, error) {
	kind, id, _ := strings.Cut(text, "/")
	t := Target{TargetKind(kind), id}
	if _, ok := concerned[t.Kind]; !ok || t.Kind == TargetGateway && text != string(t.Kind) || t.Kind != TargetGateway && checkID("target", id) != nil {
		return Target{}, texts.Errorf("target %q is none: gateway, operator/ID, licence/ID, dataset/ID or product/ID", safeName(text))
	}
	return t, nil
}

// concerned lists, by kind of target, the departments that may give orders beside
// the regulator; its error says that there is no such target.
var concerned = map[TargetKind]func(b *Book, id string) ([]string, error){
	TargetGateway: func(_ *Book, id string) ([]string, error) {
		if id != "" {
			return nil, texts.Errorf("the gateway has no id")
		}
		return nil, nil
	},
	TargetOperator: func(b *Book, id string) ([]string, error) {
		if p, ok := b.parties[id]; !ok || p.Role != RoleOperator {
			return nil, texts.Errorf("operator %q is not in the registry", safeName(id))
		}
		return nil, nil
	},
	TargetLicence: func(b *Book, id string) ([]string, error) {
		l, ok := b.licences[id]
		if !ok {
			return nil, texts.Errorf("licence %q is not granted", safeName(id))
		}
		return b.Owners(l), nil
	},
	TargetDataset: func(b *Book, id string) ([]string, error) {
		e, ok := b.datasets[id]
		if !ok {
			return nil, texts.Errorf("data set %q is not in the catalogue", safeName(id))
		}
		return []string{e.Department}, nil
	},
	TargetProduct: func(b *Book, id string) ([]string, error) {
		p, ok := b.products[id]
		if !ok {
			return nil, texts.Errorf("product %q was not filed", safeName(id))
		}
		reviewers := b.reviewersOf(p)
		return reviewers[:len(reviewers)-1], nil // the regulator, who comes last, may always
	},
}

// Owners lists the departments whose data a licence grants, in order.
func (b *Book) Owners(l Licence) []string {
	var out []string
	for _, r := range l.Resources {
		if d := b.datasets[r.Dataset].Department; d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	slices.Sort(out)
	return out
}

// Concerned lists the departments that may give orders on a target.
func (b *Book) Concerned(t Target) ([]string, error) {
	f, ok := concerned[t.Kind]
	if !ok {
		return nil, texts.Errorf("unknown kind of target %q; known: gateway, operator, licence, dataset, product", safeName(string(t.Kind)))
	}
	return f(b, t.ID)
}

// Order returns an order by its id.
func (b *Book) Order(id string) (OrderRecord, bool) { o, ok := b.orders[id]; return o, ok }

// Orders lists orders as they were given, and by id within an instant.
func (b *Book) Orders() []OrderRecord {
	out := slices.Collect(maps.Values(b.orders))
	slices.SortFunc(out, func(x, y OrderRecord) int {
		if c := x.At.Compare(y.At); c != 0 {
			return c
		}
		return strings.Compare(x.Order.ID, y.Order.ID)
	})
	return out
}

func (b *Book) putOrder(o Order, a act) error {
	if err := b.checkOrder(o, a); err != nil {
		return texts.Errorf("order %q: %w", safeName(o.ID), err)
	}
	return b.give(o, a)
}

// give puts a checked order in force.
func (b *Book) give(o Order, a act) error {
	var err error
	switch o.Stage {
	case StageSuspend:
		b.suspend(o.Target, Hold{Since: a.at, By: o.By, Reason: o.Reason, Cause: o.ID})
	case StageResume:
		err = b.resume(o, a)
	case StageEnd:
		err = b.end(o, a)
	}
	if err != nil {
		return texts.Errorf("order %q: %w", o.ID, err)
	}
	b.orders[o.ID] = OrderRecord{Order: o, At: a.at}
	return nil
}

// checkOrder checks form, standing and signature.
func (b *Book) checkOrder(o Order, a act) error {
	if err := checkID("order", o.ID); err != nil {
		return err
	}
	if _, ok := b.orders[o.ID]; ok {
		return texts.Errorf("an order of this id was given before")
	}
	// Whoever lifts by a cause must not lift what an objection holds.
	if _, ok := b.holds[o.Target][o.ID]; ok {
		return texts.Errorf("an objection of this id holds the target; give the order another id")
	}
	if o.Reason.ZH == "" || o.Basis.ZH == "" {
		return texts.Errorf("reason and legal basis must be stated in Chinese")
	}
	departments, err := b.Concerned(o.Target)
	if err != nil {
		return err
	}
	p, ok := b.parties[o.By]
	if !ok || p.Withdrawn || o.By != b.root && !slices.Contains(departments, o.By) {
		return texts.Errorf("party %q may give no order on %s: only the regulator, or a department whose own data it is", safeName(o.By), o.Target)
	}
	if !a.signers[o.By] {
		return texts.Errorf("signature of %q is missing", o.By)
	}
	if (o.Stage == StageRectify) != !o.Due.IsZero() || o.Stage == StageRectify && !o.Due.After(a.at) {
		return texts.Errorf("due: an order to rectify, and no other, names a date to come")
	}
	if o.Lifts != "" && o.Stage != StageResume {
		return texts.Errorf("lifts is for a resumption alone")
	}
	if !slices.Contains([]OrderStage{StageRectify, StageSuspend, StageResume, StageEnd}, o.Stage) {
		return texts.Errorf("unknown stage %q; known: rectify, suspend, resume, end", safeName(string(o.Stage)))
	}
	if by, ok := b.ended[o.Target]; ok {
		return texts.Errorf("%s was ended by order %q for good", o.Target, by)
	}
	return nil
}

// resume lifts suspensions and closes orders to rectify. Only who gave an order,
// or the regulator, may lift it; what an objection holds, its outcome frees.
func (b *Book) resume(o Order, a act) error {
	var lifted []string
	for _, id := range slices.Sorted(maps.Keys(b.orders)) {
		r := b.orders[id]
		open := r.Closed == "" && (r.Order.Stage == StageSuspend || r.Order.Stage == StageRectify && o.Lifts == id)
		if r.Order.Target != o.Target || !open || o.Lifts != "" && o.Lifts != id {
			continue
		}
		if r.Order.By != o.By && o.By != b.root {
			if o.Lifts == "" {
				continue
			}
			return texts.Errorf("order %q was given by %q: only that party or the regulator may lift it", id, r.Order.By)
		}
		b.lift(o.Target, id)
		r.Closed, r.ClosedAt = o.ID, a.at
		b.orders[id] = r
		lifted = append(lifted, id)
	}
	switch {
	case len(lifted) > 0:
		return nil
	case o.Lifts != "":
		return texts.Errorf("order %q is not open on %s", safeName(o.Lifts), o.Target)
	case len(b.Holds(o.Target)) > 0:
		return texts.Errorf("%s is not suspended by an order of %q: only who suspended it, or the regulator, may lift that", o.Target, o.By)
	}
	return texts.Errorf("%s is not suspended", o.Target)
}

// end is for good: a licence is revoked, an operator withdrawn, a data set or a
// product held without anybody who may lift it.
func (b *Book) end(o Order, a act) error {
	switch o.Target.Kind {
	case TargetGateway:
		return texts.Errorf("a gateway is suspended, not ended")
	case TargetLicence:
		if _, ok := b.revoked[o.Target.ID]; ok {
			return texts.Errorf("licence %q was revoked already", o.Target.ID)
		}
		b.revoked[o.Target.ID] = Revocation{Licence: o.Target.ID, By: o.By, Reason: o.Reason, order: o.ID}
		b.desk.lost[o.Target.ID] = a.at
	case TargetOperator:
		p := b.parties[o.Target.ID]
		p.Withdrawn = true
		b.parties[o.Target.ID] = p
	default:
		b.suspend(o.Target, Hold{Since: a.at, By: o.By, Reason: o.Reason, Cause: o.ID})
	}
	b.ended[o.Target] = o.ID
	return nil
}

// keptEnded refuses a registry that would bring an operator back whom an order
// ended: a registry is written out whole, and an old copy would forget the order.
func (b *Book) keptEnded(parties map[string]Party) error {
	for t, order := range b.ended {
		if t.Kind == TargetOperator && !parties[t.ID].Withdrawn {
			return texts.Errorf("party %q was ended by order %q and stays withdrawn; register it anew under another id", t.ID, order)
		}
	}
	return nil
}

// endedBy is the rule that ended a target: its order, or otherwise.
func (b *Book) endedBy(t Target, otherwise string) string {
	if order, ok := b.ended[t]; ok {
		return "order/" + order
	}
	return otherwise
}

func (r Revocation) rule() string {
	if r.order != "" {
		return "order/" + r.order
	}
	return "licence/" + r.Licence
}
