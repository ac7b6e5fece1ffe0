package policies

import (
	"crypto/sha256"
	"maps"
	"slices"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/sandgate/sandgate/compute/budget"
)

// Book is the policy in force: the pure projection of every signed bundle that
// the ledger holds. The zero Book trusts nobody; NewBook names the root of trust.
// A Book is not safe for concurrent use; the sequencer owns the live one.
type Book struct {
	memory *memory // nil until the book is settled

	root        string // regulator's party id
	rootKey     []byte
	parties     map[string]Party
	purposes    map[string]Purpose
	datasets    map[string]Entry
	licences    map[string]Licence
	revoked     map[string]Revocation
	holds       map[Target]map[string]Hold // by cause
	products    map[string]Product
	reviews     map[reviewKey]ProductReview
	reviewRules map[string]ReviewRule
	ceilings    map[priceKey][]priceAt // replaced, never changed
	tariffs     map[priceKey][]priceAt
	ceiling     budget.Nano
	registered  bool
	applied     map[[sha256.Size]byte]bool // bundles that took effect once
	agreed      bool                       // the registry asks for operators' signatures
	orders      map[string]OrderRecord     // by id
	consents    map[string]ConsentRecord   // by id
	ended       map[Target]string          // what an order ended for good → the order
	desk        desk
	usage       map[usageKey]UsageRecord // feedback (R31); replaced, never changed
	// catalogue
	negative             map[string]Negative // by id of the entry
	registrations        map[Target]Registered
	registrationRequired bool
	schemes              map[string]GradingScheme // by id, without the built-in one
	// masking: latest risk assessments by data set, and conversions that rest on them
	assessed    map[string]Assessment
	conversions map[string][]Conversion

	// witness: replaced, never changed
	witnesses *WitnessPolicy
	// auto:
	standing map[string]StandingRecord // by id
	executed map[executedKey][]string  // orders that a standing order gave on a target
	// federation:
	federations map[string]federated // by region
}

// Entry is everything the departments said about one data set. Fields are nil
// until their document was applied.
type Entry struct {
	Dataset    Dataset
	Department string
	// Levels are on the scale of GB/T 43697-2024, 1…6, whatever Scheme they were
	// said in.
	Levels map[string]int
	Scheme string
	Masks  map[string]Mask
	Masked bool // a Masking document for the data set was applied
	Rule   *DisclosureRule
	// Masks are what is stored: the strictest of what the department wrote and of
	// its rules for everybody.
	MasksWritten map[string]Mask // as they stand in the Masking document
	MaskRules    []MaskRule
	// Held are the hidden columns (Variants) that the snapshot in force has.
	Held []string

	derived *derived // nil but in a settled book
}

// NewBook starts from the regulator's identity, the only root of trust.
func NewBook(regulator string, key []byte) *Book {
	return &Book{
		root: regulator, rootKey: key,
		parties:     map[string]Party{},
		purposes:    map[string]Purpose{},
		datasets:    map[string]Entry{},
		licences:    map[string]Licence{},
		revoked:     map[string]Revocation{},
		applied:     map[[sha256.Size]byte]bool{},
		holds:       map[Target]map[string]Hold{},
		products:    map[string]Product{},
		reviews:     map[reviewKey]ProductReview{},
		reviewRules: map[string]ReviewRule{},
		orders:      map[string]OrderRecord{}, consents: map[string]ConsentRecord{}, ended: map[Target]string{},
		desk: newDesk(),

		negative:      map[string]Negative{},
		registrations: map[Target]Registered{},
		schemes:       map[string]GradingScheme{},
		assessed:      map[string]Assessment{}, conversions: map[string][]Conversion{},
		// auto:
		standing: map[string]StandingRecord{}, executed: map[executedKey][]string{},
		// federation:
		federations: map[string]federated{},
	}
}

func (b *Book) clone() *Book {
	c := *b
	c.memory = nil // until the copy is settled
	c.parties = maps.Clone(b.parties)
	c.purposes = maps.Clone(b.purposes)
	c.datasets = maps.Clone(b.datasets)
	c.licences = maps.Clone(b.licences)
	c.revoked = maps.Clone(b.revoked)
	c.applied = maps.Clone(b.applied)
	c.holds = maps.Clone(b.holds)
	c.products = maps.Clone(b.products)
	c.reviews = maps.Clone(b.reviews)
	c.reviewRules = maps.Clone(b.reviewRules)
	c.orders, c.consents, c.ended = maps.Clone(b.orders), maps.Clone(b.consents), maps.Clone(b.ended)
	c.desk = b.desk.clone()
	c.negative = maps.Clone(b.negative)
	c.registrations = maps.Clone(b.registrations)
	c.schemes = maps.Clone(b.schemes)
	c.assessed, c.conversions = maps.Clone(b.assessed), cloneConversions(b.conversions)
	// auto:
	c.standing, c.executed = maps.Clone(b.standing), maps.Clone(b.executed)
	// federation:
	c.federations = maps.Clone(b.federations)
	return &c
}

// Party returns a registered party.
func (b *Book) Party(id string) (Party, bool) { p, ok := b.parties[id]; return p, ok }

// Dataset returns what is known of a data set.
func (b *Book) Dataset(id string) (Entry, bool) { e, ok := b.datasets[id]; return e, ok }

// Licence returns a licence, whether or not it is in force.
func (b *Book) Licence(id string) (Licence, bool) { l, ok := b.licences[id]; return l, ok }

// Datasets lists data set ids in order.
func (b *Book) Datasets() []string { return slices.Sorted(maps.Keys(b.datasets)) }

// Licences lists licence ids in order.
func (b *Book) Licences() []string { return slices.Sorted(maps.Keys(b.licences)) }

// Parties lists party ids in order.
func (b *Book) Parties() []string { return slices.Sorted(maps.Keys(b.parties)) }

// Purpose returns a registered purpose.
func (b *Book) Purpose(id string) (Purpose, bool) { p, ok := b.purposes[id]; return p, ok }

func (b *Book) key(party string) ([]byte, bool) {
	if party == b.root {
		return b.rootKey, true
	}
	p, ok := b.parties[party]
	if !ok || p.Withdrawn {
		return nil, false
	}
	k, err := ParsePartyKey(p.Key)
	return k, err == nil
}

// Apply verifies a signed bundle and returns the Book with it in force, leaving
// b unchanged; every document of the bundle takes effect or none. Each document
// must be signed by the party that owns what it governs (R17): a registry by the
// regulator, a department's documents by that department, a licence by the
// regulator and by every department whose data it grants. A bundle takes effect
// once: the same text again is refused. at is the instant it takes effect, from
// which terms and statutory deadlines count.
func (b *Book) Apply(envelope []byte, at time.Time) (*Book, []Document, error) {
	env, payload, err := ParseEnvelope(envelope)
	if err != nil {
		return nil, nil, err
	}
	// Signatures first: a text nobody vouches for is not worth parsing.
	if _, err := verified(env, payload, b.key); err != nil {
		return nil, nil, withoutNumbers(err)
	}
	docs, err := ParseBundle(payload)
	if err != nil {
		return nil, nil, err
	}
	next, docs, err := b.apply(env, payload, docs, at)
	return next, docs, withoutNumbers(err)
}

func (b *Book) apply(env *dsse.Envelope, payload []byte, docs []Document, at time.Time) (*Book, []Document, error) {
	signers, err := verified(env, payload, b.key)
	if err != nil {
		return nil, nil, err
	}
	// A signature has no date. Were a bundle good for ever, whoever keeps an old
	// one could bring back a looser rule, or a key that was replaced.
	digest := sha256.Sum256(payload)
	if b.applied[digest] {
		return nil, nil, texts.Errorf("this very bundle was applied before; to return to it, add a dated comment and sign it anew")
	}
	next := b.clone()
	next.applied[digest] = true
	for i, doc := range docs {
		if err := next.put(doc, act{signers: signers, at: at}); err != nil {
			return nil, nil, texts.Errorf("document %d (%s): %w", i+1, doc.Kind, err)
		}
		next.noted(doc, at)
	}
	next.settle()
	// Consents come by the thousand and change nothing else that is remembered.
	if !slices.ContainsFunc(docs, func(d Document) bool { return d.Kind != KindConsent }) {
		next.memory = b.memory
	}
	return next, docs, nil
}

// act is under whose signatures, and when, a document takes effect.
type act struct {
	signers map[string]bool // party ids
	at      time.Time
}

func (b *Book) put(doc Document, a act) error {
	if err := checkDocumentWords(doc); err != nil {
		return err
	}
	if doc.Kind != KindRegistry && !b.registered {
		return texts.Errorf("no registry is in force; the regulator must apply one first")
	}
	switch doc.Kind {
	case KindRegistry:
		return b.putRegistry(*doc.Registry, a.signers)
	case KindCatalogue:
		return b.putCatalogue(*doc.Catalogue, a.signers)
	case KindGrading:
		return b.putGrading(*doc.Grading, a.signers)
	case KindMasking:
		return b.putMasking(*doc.Masking, a.signers)
	case KindDisclosure:
		return b.putDisclosure(*doc.Disclosure, a.signers)
	case KindLicence:
		return b.putLicence(*doc.Licence, a)
	case KindRevocation:
		return b.putRevocation(*doc.Revocation, a.signers)
	}
	if k, ok := kinds[doc.Kind]; ok {
		return k.put(b, doc.Body, a)
	}
	return texts.Errorf("unknown kind %q", doc.Kind)
}

// department checks that id is a registered department and signed the bundle.
func (b *Book) department(id string, signers map[string]bool) error {
	p, ok := b.parties[id]
	if !ok || p.Role != RoleDepartment {
		return texts.Errorf("department %q is not in the registry", id)
	}
	if !signers[id] {
		return texts.Errorf("signature of department %q is missing; only the owning department sets this policy", id)
	}
	return nil
}

// owned checks that a data set exists and belongs to the department.
func (b *Book) owned(dataset, department string) (Entry, error) {
	e, ok := b.datasets[dataset]
	if !ok {
		return Entry{}, texts.Errorf("data set %q is not in the catalogue; apply its Catalogue first", dataset)
	}
	if e.Department != department {
		return Entry{}, texts.Errorf("data set %q belongs to department %q, not %q", dataset, e.Department, department)
	}
	return e, nil
}

func (b *Book) putRegistry(r Registry, signers map[string]bool) error {
	if !signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	parties, purposes, err := checkRegistry(r, b.root, b.rootKey)
	if err != nil {
		return err
	}
	if err := b.keptEnded(parties); err != nil {
		return err
	}
	for id, old := range b.parties {
		now, ok := parties[id]
		if !ok {
			return texts.Errorf("party %q is missing; a registry may add or change parties, never drop one the ledger names", id)
		}
		if now.Role != old.Role {
			return texts.Errorf("party %q cannot change its role", id)
		}
		// signers were verified against the old keys: the regulator alone must not
		// be able to put its own key in a department's place.
		if now.Key != old.Key && !signers[id] {
			return texts.Errorf("party %q: its key changes only with its own signature, by the old key; a party that lost its key is withdrawn and registered anew", id)
		}
	}
	ceiling, err := ceilingOf(r)
	if err != nil {
		return err
	}
	b.parties, b.purposes, b.ceiling, b.registered, b.agreed = parties, purposes, ceiling, true, r.OperatorSigns
	b.registrationRequired = r.RegistrationRequired
	return nil
}

func ceilingOf(r Registry) (budget.Nano, error) {
	text := r.BudgetCeiling
	if text == "" {
		text = DefaultCeiling
	}
	v, err := budget.ParseLimit(text)
	if err != nil || v <= 0 {
		return 0, texts.Errorf("budget_ceiling is not a positive ρ")
	}
	return v, nil
}

func (b *Book) putCatalogue(c Catalogue, signers map[string]bool) error {
	if err := b.department(c.Department, signers); err != nil {
		return err
	}
	if len(c.Datasets) == 0 {
		return texts.Errorf("datasets is empty: a Catalogue that lists nothing would be in force and say nothing")
	}
	seen := map[string]bool{}
	for _, d := range c.Datasets {
		if seen[d.ID] {
			return texts.Errorf("data set %q stands twice", safeName(d.ID))
		}
		seen[d.ID] = true
		old, exists := b.datasets[d.ID]
		if exists && old.Department != c.Department {
			return texts.Errorf("data set %q belongs to department %q: one item has one source", d.ID, old.Department)
		}
		if err := checkDataset(d); err != nil {
			return texts.Errorf("data set %q: %w", d.ID, err)
		}
		if err := b.checkEntry(c.Department, old, exists, d, signers); err != nil {
			return texts.Errorf("data set %q: %w", d.ID, err)
		}
		// A changed catalogue re-grades at once (R16): what the other documents
		// said of the old columns no longer counts, so nothing runs until they
		// are applied again.
		b.datasets[d.ID] = Entry{Dataset: d, Department: c.Department, Held: old.Held}
	}
	return nil
}

func (b *Book) putGrading(g Grading, signers map[string]bool) error {
	if err := b.department(g.Department, signers); err != nil {
		return err
	}
	if _, ok := b.Scheme(g.Scheme); !ok {
		return b.unknownScheme(g.Scheme)
	}
	for id, names := range g.Levels {
		e, err := b.owned(id, g.Department)
		if err != nil {
			return err
		}
		levels, err := b.mapped(g.Scheme, names)
		if err == nil {
			err = checkLevels(e.Dataset, levels)
		}
		if err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		if err := e.sourcesSigned(signers, maps.Keys(levels)); err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		e.Levels, e.Scheme = levels, g.Scheme
		b.datasets[id] = b.kept(e.regraded())
	}
	return nil
}

// kept takes masks and the disclosure rule out of force when they do not hold under
// a new grading or masking (R16: a change re-grades at once). Nothing runs on the
// data set until its department sets some that do.
func (b *Book) kept(e Entry) Entry {
	if e.Masked && checkMaskDemands(e, e.Masks) != nil {
		e.Masks, e.MasksWritten, e.MaskRules, e.Masked, e.Rule = nil, nil, nil, false, nil
	}
	if e.Rule != nil && b.checkRule(e, *e.Rule) != nil {
		e.Rule = nil
	}
	return e
}

func (b *Book) putDisclosure(d Disclosure, signers map[string]bool) error {
	if err := b.department(d.Department, signers); err != nil {
		return err
	}
	for id, rule := range d.Datasets {
		e, err := b.owned(id, d.Department)
		if err != nil {
			return err
		}
		if err := b.checkRule(e, rule); err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		if err := e.sourcesSigned(signers, maps.Keys(rule.Uses)); err != nil {
			return texts.Errorf("data set %q: %w", id, err)
		}
		e.Rule = &rule
		b.datasets[id] = e
	}
	return nil
}

func (b *Book) putLicence(l Licence, a act) error {
	signers := a.signers
	if !signers[b.root] {
		return texts.Errorf("signature of the regulator %q is missing", b.root)
	}
	if err := b.checkLicence(l); err != nil {
		return texts.Errorf("licence %q: %w", l.ID, err)
	}
	for _, r := range l.Resources {
		if dept := b.datasets[r.Dataset].Department; !signers[dept] {
			return texts.Errorf("licence %q: signature of department %q, which owns %q, is missing", l.ID, dept, r.Dataset)
		}
	}
	if err := b.checkAgreement(l, a); err != nil {
		return texts.Errorf("licence %q: %w", l.ID, err)
	}
	if err := b.checkOffered(l, signers); err != nil {
		return texts.Errorf("licence %q: %w", l.ID, err)
	}
	if _, ok := b.revoked[l.ID]; ok {
		return texts.Errorf("licence %q was revoked; grant a new one under another id", l.ID)
	}
	if old, ok := b.licences[l.ID]; ok && old.Operator != l.Operator {
		return texts.Errorf("licence %q was granted to operator %q and cannot change hands", l.ID, old.Operator)
	}
	if err := b.fits(l); err != nil {
		return texts.Errorf("licence %q: %w", l.ID, err)
	}
	b.licences[l.ID] = l
	return nil
}

func (b *Book) putRevocation(r Revocation, signers map[string]bool) error {
	l, ok := b.licences[r.Licence]
	if !ok {
		return texts.Errorf("licence %q is not granted", r.Licence)
	}
	owner := r.By == b.root || slices.ContainsFunc(l.Resources, func(o LicenceObject) bool {
		return b.datasets[o.Dataset].Department == r.By
	})
	if !owner {
		return texts.Errorf("party %q may not revoke licence %q: only the regulator or a department whose data it grants", r.By, r.Licence)
	}
	if !signers[r.By] {
		return texts.Errorf("signature of %q is missing", r.By)
	}
	b.revoked[r.Licence] = r
	return nil
}

// InForce says whether a licence may be used at an instant, and if not, why.
func (b *Book) InForce(id string, at time.Time) *Reason {
	l, ok := b.licences[id]
	if !ok {
		return reasonf("LICENCE_UNKNOWN", "licence", b.root, "没有编号为“%s”的授权", "no licence %q is granted", id)
	}
	if r, ok := b.revoked[id]; ok {
		return reasonf("LICENCE_REVOKED", r.rule(), r.By, "授权“%s”已被撤销", "licence %q was revoked", id)
	}
	if at.Before(l.NotBefore) {
		return reasonf("LICENCE_NOT_YET_VALID", "licence/"+id, b.root, "授权“%s”尚未生效", "licence %q is not yet valid", id)
	}
	if !at.Before(l.NotAfter) {
		return reasonf("LICENCE_EXPIRED", "licence/"+id, b.root, "授权“%s”已于 "+Day(l.NotAfter)+" 到期",
			"licence %q expired on "+Day(l.NotAfter), id).
			hint("请向主管部门申请续期", "apply to the regulator for a renewal")
	}
	return nil
}
