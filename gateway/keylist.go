package gateway

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// keyUse says of every key of a gateway what it is for and how it is changed.
var keyUse = []struct{ id, zh, en, howZH, howEN string }{
	{entry.KeyStorage, "包裹快照与精确记录的数据密钥", "wraps the data keys of snapshots and of exact records",
		"key rotate storage：重新包裹，文件不重写", "key rotate storage: data keys are wrapped anew, no file is written again"},
	{entry.KeyLog, "签署账本检查点", "signs the checkpoints of the ledger",
		"key rotate log：新旧密钥在账本中交接", "key rotate log: the old key hands over to the new in the ledger"},
	{entry.KeyReceipt, "签署回执", "signs receipts",
		"key rotate receipt：旧回执仍可核验", "key rotate receipt: receipts of before stay good"},
	{entry.KeyToken, "统一标识令牌、行次序、伪名", "unit tokens, ranks within a unit, pseudonyms",
		"key rotate token：各数据集重新入库后生效，随后销毁旧密钥", "key rotate token: takes effect as data sets are ingested again; then the old key is erased"},
	{entry.KeyCommit, "查询承诺的盐、后处理的封签", "salts of commitments to queries, seals of post-processing",
		"key rotate commit：旧密钥留存，用于识别重复与揭示", "key rotate commit: keys of before are kept, to know repeats and to open commitments"},
	{entry.KeyConsent, "同意书与核验当事人的承诺", "commitments to the subjects of consents and verifications",
		"key rotate consent：重新入库并重新登记同意书；旧密钥留存", "key rotate consent: ingest and record consents again; keys of before are kept"},
	{entry.KeyServer, "网关证书", "the gateway's certificate",
		"key rotate server：新连接即用新证书", "key rotate server: new connections get the new certificate"},
	{entry.KeyCA, "签发网关与各方证书", "issues the certificates of the gateway and of parties",
		"key rotate ca，各方 party renew，再 key retire ca", "key rotate ca, party renew for each, then key retire ca"},
}

// ListKeys implements sandgatev1.KeyServiceServer.
func (s *keyService) ListKeys(ctx context.Context, _ *sandgatev1.ListKeysRequest) (*sandgatev1.ListKeysResponse, error) {
	d := s.d
	if err := d.Authorize(caller(ctx), policies.ActRotateKey, policies.Resource{}); err != nil {
		return nil, err
	}
	d.rotating.Lock()
	defer d.rotating.Unlock()
	out := &sandgatev1.ListKeysResponse{}
	storage, names := d.wrapper().ID(), map[string]string{}
	for _, name := range []string{entry.KeyLog, entry.KeyReceipt, entry.KeyToken, entry.KeyCommit, entry.KeyConsent, entry.KeyServer, entry.KeyCA} {
		var err error
		if names[name], err = d.home.KeyName(name, d.inForce(name)); err != nil {
			return nil, err
		}
	}
	names[entry.KeyStorage] = storage
	d.log.View(func() {
		for _, u := range keyUse {
			since := d.state.KeyInForce(u.id)
			k := &sandgatev1.Key{Id: u.id, Name: names[u.id], PurposeZh: u.zh, PurposeEn: u.en, RotationZh: u.howZH, RotationEn: u.howEN,
				Since: timestamppb.New(time.UnixMilli(since.At)), Seq: since.Seq, Kept: "keyring", Epoch: int32(d.state.KeyEpoch(u.id)), Held: int32(len(d.keys.Old[u.id]))}
			if d.service != nil && (u.id == entry.KeyStorage || u.id == entry.KeyToken || u.id == entry.KeyConsent && len(d.keys.Old[u.id]) > 0) {
				k.Kept = "vault"
			}
			if u.id == entry.KeyToken {
				k.Waiting = d.state.TokensBefore(int(k.Epoch))
			}
			if u.id == entry.KeyConsent {
				k.Held = k.Epoch
				k.Waiting, _ = d.state.ConsentsBefore()
			}
			out.Keys = append(out.Keys, k)
		}
	})
	return out, nil
}

// RotateKey implements sandgatev1.KeyServiceServer.
func (s *keyService) RotateKey(ctx context.Context, req *sandgatev1.RotateKeyRequest) (*sandgatev1.RotateKeyResponse, error) {
	r, receipt, err := s.d.Rotate(ctx, caller(ctx), req.GetKey())
	if err != nil {
		return nil, err
	}
	out := &sandgatev1.RotateKeyResponse{From: r.From, To: r.To, Moved: int32(r.Moved), Left: int32(r.Left), Epoch: int32(r.Epoch), Receipt: receiptOf(receipt)}
	if r.Key == entry.KeyConsent {
		s.d.log.View(func() { out.Waiting, out.Departments = s.d.state.ConsentsBefore() })
	}
	if r.Key == entry.KeyToken {
		s.d.log.View(func() {
			out.Waiting, out.Closing = s.d.state.TokensBefore(r.Epoch), s.d.state.ExactBefore(r.Epoch)
		})
	}
	return out, nil
}
