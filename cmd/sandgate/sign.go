package main

import (
	"context"
	"encoding/json"
	"time"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/policies"
)

// sign puts the kit's signature under a document. The dated comment makes it a
// bundle of its own: the same words said twice are two acts, and a bundle counts
// once.
func (a *app) sign(document []byte) (text, envelope []byte, err error) {
	k, err := a.kit()
	if err != nil {
		return nil, nil, err
	}
	key, err := k.SigningKey()
	if err != nil {
		return nil, nil, err
	}
	text = append([]byte("# "+time.Now().UTC().Format(time.RFC3339Nano)+"\n"), document...)
	env, err := policies.Sign(nil, text, k.Party, key)
	if err != nil {
		return nil, nil, texts.Errorf("failed to sign the document: %w", err)
	}
	if envelope, err = json.MarshalIndent(env, "", "  "); err != nil {
		return nil, nil, texts.Errorf("failed to encode the envelope: %w", err)
	}
	return text, envelope, nil
}

// apply puts an envelope in force.
func (a *app) apply(ctx context.Context, envelope []byte) (*sandgatev1.ApplyPolicyResponse, error) {
	cl, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return cl.Policy.ApplyPolicy(ctx, &sandgatev1.ApplyPolicyRequest{Envelope: envelope})
}

// signAndApply puts a document in force under the kit's signature alone.
func (a *app) signAndApply(ctx context.Context, document []byte) (*sandgatev1.ApplyPolicyResponse, error) {
	_, envelope, err := a.sign(document)
	if err != nil {
		return nil, err
	}
	return a.apply(ctx, envelope)
}

// warnings are told beside the answer.
func (a *app) warnings(list []*sandgatev1.Reason) {
	for _, r := range list {
		a.note("注意 %s: %s", "note %s: %s", r.GetCode(), reasonText(r, a.lang))
	}
}

// inForce says what was put in force and where the ledger holds it.
func (a *app) inForce(resp *sandgatev1.ApplyPolicyResponse) error {
	if a.format == "json" {
		return a.proto(resp)
	}
	a.warnings(resp.GetWarnings())
	a.say("已生效: %s（账本第 %d 条）", "in force: %s (ledger entry %d)", join(resp.GetKinds()), resp.GetReceipt().GetSeq())
	return nil
}
