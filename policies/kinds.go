package policies

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// documentKind is how a kind of document is read and put in force.
type documentKind struct {
	decode func(node *yaml.Node) (any, error)
	put    func(b *Book, body any, a act) error
	// offers are the roles that may bring a bundle with such a document to the
	// gateway; empty is department and regulator. Whose signature it needs is for
	// put to say.
	offers []Role
}

// kindOf makes a documentKind of a body type and the method that applies it.
func kindOf[T any](put func(b *Book, v T, a act) error, offers ...Role) documentKind {
	return documentKind{
		decode: func(node *yaml.Node) (any, error) { return decodeAs[T](node) },
		put:    func(b *Book, body any, a act) error { return put(b, *body.(*T), a) },
		offers: offers,
	}
}

// kinds are the documents beside those of types.go.
var kinds map[Kind]documentKind

// The table refers to methods that refer to it.
func init() {
	kinds = map[Kind]documentKind{
		// catalogue
		KindNegativeList: kindOf((*Book).putNegativeList),
		KindRegistration: kindOf((*Book).putRegistration, RoleRegulator),

		// grading
		KindGradingScheme: kindOf((*Book).putScheme),

		// masking
		KindConversion: kindOf((*Book).putConversion),

		// desk
		KindProfile:               kindOf((*Book).putProfile, RoleRegulator),
		KindApplication:           kindOf((*Book).putApplication, RoleOperator),
		KindApplicationWithdrawal: kindOf((*Book).putApplicationWithdrawal, RoleOperator),
		KindReview:                kindOf((*Book).putReview),
		KindObjection:             kindOf((*Book).putObjection, RoleOperator, RoleDepartment, RoleRegulator),
		KindRuling:                kindOf((*Book).putRuling),
		KindCorrection:            kindOf((*Book).putCorrection, RoleOperator, RoleDepartment, RoleRegulator),
		KindReply:                 kindOf((*Book).putReply),
		KindDispute:               kindOf((*Book).putDispute, RoleOperator, RoleDepartment, RoleRegulator),
		KindLegalChange:           kindOf((*Book).putLegalChange),

		// licences
		KindOrder:             kindOf((*Book).putOrder),
		KindConsent:           kindOf((*Book).putConsent, RoleDepartment),
		KindConsentWithdrawal: kindOf((*Book).putWithdrawal, RoleDepartment),

		// products
		KindProduct:       kindOf((*Book).putProduct, RoleOperator),
		KindProductReview: kindOf((*Book).putProductReview),
		KindReviewRule:    kindOf((*Book).putReviewRule),

		// supervision
		KindUsageReport: kindOf((*Book).putUsageReport, RoleOperator),

		// metering
		KindPriceCeiling: kindOf((*Book).putPriceCeiling),
		KindTariff:       kindOf((*Book).putTariff, RoleOperator),

		// witness
		KindWitnessPolicy: kindOf((*Book).putWitnessPolicy, RoleRegulator),

		// federation
		KindFederation: kindOf((*Book).putFederation),

		// auto
		KindStandingOrder:           kindOf((*Book).putStandingOrder),
		KindStandingOrderWithdrawal: kindOf((*Book).putStandingOrderWithdrawal),
	}
}

func knownKinds() []string {
	out := []string{string(KindRegistry), string(KindCatalogue), string(KindGrading), string(KindMasking), string(KindDisclosure), string(KindLicence), string(KindRevocation)}
	var more []string
	for k := range kinds {
		more = append(more, string(k))
	}
	slices.Sort(more)
	return append(out, more...)
}

// MayOffer says whether a role may bring a document of the kind to the gateway.
func MayOffer(role Role, kind Kind) bool {
	k := kinds[kind]
	if len(k.offers) == 0 {
		return role == RoleDepartment || role == RoleRegulator
	}
	return slices.Contains(k.offers, role)
}
