package client

import (
	"crypto/sha256"
	"encoding/json"
	"slices"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/federate"
	"github.com/sandgate/sandgate/compute/release"
	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
	"github.com/sandgate/sandgate/policies/signature"
)

// ReadAgreement reads the agreement of a region from the text that its parties sign.
func ReadAgreement(text []byte, region string) (policies.Federation, error) {
	docs, err := policies.ParseBundle(text)
	if err != nil {
		return policies.Federation{}, err
	}
	for _, d := range docs {
		if f, ok := d.Body.(*policies.Federation); ok && f.Region == region {
			return *f, nil
		}
	}
	return policies.Federation{}, texts.Errorf("the file holds no agreement %q", region)
}

// CheckRound holds the answer of a round against what the regulator of the agreement
// signed for the receiver: that it is the answer of the receiver's own request, and that
// the table is the one of the signed release, to the last digit, under the signed names.
// request is the request's id, or empty where only the round's name tells it. What the hub
// says of the round beside the table is its word alone.
func CheckRound(f policies.Federation, receiver, request string, got *sandgatev1.RoundRelease) error {
	all := f.With(policies.FederationRegulator)
	if len(all) != 1 {
		return texts.Errorf("the agreement names no regulator whose signature the answer needs")
	}
	key, ok := f.KeyOf(all[0])
	text := got.GetDelivery().GetText()
	if !ok || !signature.Verify(key, federate.SigningBytes(text), got.GetDelivery().GetSig()) {
		return texts.Errorf("the answer is not signed by %q, the regulator of the agreement", all[0])
	}
	d, err := federate.DecodeDelivery(text)
	r := got.GetRound()
	switch {
	case err != nil || d.From != all[0]:
		return texts.Errorf("what the regulator signed is no answer of a round")
	case r.GetRegion() != f.Region || d.Receiver != receiver || d.Session != r.GetSession() || RoundID(r.GetName()) != state.HubRoundID(receiver, d.Request) || request != "" && d.Request != request:
		return texts.Errorf("what the regulator signed is the answer of another request")
	}
	signed, err := signedRelease(d)
	if err != nil {
		return err
	}
	if got.GetRelease().GetDigest() != d.Content() || !sameTable(signed, got.GetRelease()) {
		return texts.Errorf("the table is not the one that the regulator signed: the gateway, or somebody on the way, changed it")
	}
	if note := signed.OverlapNote(); got.GetOverlapNote() != note.ZH || got.GetOverlapNoteEn() != note.EN {
		return texts.Errorf("the note on units that are counted twice is not the one of the signed answer")
	}
	return nil
}

// signedRelease is the table of a delivery, named, ordered and cut as it says.
func signedRelease(d *federate.Delivery) (*release.Release, error) {
	fail := func() (*release.Release, error) {
		return nil, texts.Errorf("what the regulator signed is no answer of a round")
	}
	rel, err := release.Load(d.Release, sha256.Sum256(d.Release))
	if err != nil {
		return fail()
	}
	var post algebra.Post
	if json.Unmarshal(d.Post, &post) != nil {
		return fail()
	}
	if rel, err = rel.Apply(post); err != nil {
		return fail()
	}
	return rel, nil
}

// sameTable compares a table as it came with the signed one, cell by cell.
func sameTable(want *release.Release, got *sandgatev1.Release) bool {
	if got.GetDerived() || got.GetSynthetic() != nil || got.GetMode() != string(want.Mode()) {
		return false
	}
	columns := slices.EqualFunc(want.Columns(), got.GetColumns(), func(w release.Column, g *sandgatev1.ReleaseColumn) bool {
		kind := sandgatev1.ReleaseColumn_KIND_ESTIMATE
		if w.Kind == release.KindKey {
			kind = sandgatev1.ReleaseColumn_KIND_KEY
		}
		return g.GetName() == w.Name && g.GetKind() == kind && g.GetKey() == (w.Kind == release.KindKey) && g.GetType() == string(w.Type.Kind) && g.GetScale() == int32(w.Type.Scale)
	})
	return columns && slices.EqualFunc(want.Rows(), got.GetRows(), func(w []release.Cell, g *sandgatev1.ReleaseRow) bool {
		return slices.EqualFunc(w, g.GetCells(), func(w release.Cell, g *sandgatev1.ReleaseCell) bool {
			return g.GetValue() == w.Value && g.GetNull() == w.Null && g.GetLower() == w.Lo && g.GetUpper() == w.Hi && g.GetWithheld() == w.Suppressed
		})
	})
}
