package gateway

import (
	"context"
	"crypto/x509"
	"strings"

	sandgatev1 "github.com/sandgate/sandgate/gateway/api/sandgate/v1"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// trusts says whether the authority of a client's certificate is one in force, which a
// connection that was made before its retirement does not know, and notes which it is.
func (d *Domain) trusts(party string, chain []*x509.Certificate) bool {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	key := home.Authority(d.keys, chain)
	if key == nil {
		return false
	}
	if d.issued == nil {
		d.issued = map[string]string{}
	}
	d.issued[party] = string(key)
	return true
}

// unrenewed lists the parties that were not last seen with a certificate of the newest
// authority since the gateway started. It tells too many, never too few, but of one
// party's several kits it knows the last that called alone.
func (d *Domain) unrenewed(b *policies.Book) []string {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	now := home.AuthorityKey(d.keys.CA)
	var out []string
	for _, id := range b.Parties() {
		if p, _ := b.Party(id); !p.Withdrawn && d.issued[id] != string(now) {
			out = append(out, id)
		}
	}
	return out
}

// rotateAuthority puts a new authority beside the one before: it issues from now on,
// and certificates of both are taken.
func (d *Domain) rotateAuthority(ctx context.Context, actor string) (entry.Rotated, ledger.Receipt, error) {
	// A call that broke off may have left the certificates behind the keyring.
	if err := d.renewTLS(); err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	out, receipt, err := d.rotateSecret(ctx, actor, entry.KeyCA)
	if err != nil {
		return out, receipt, err
	}
	return out, receipt, d.renewTLS()
}

// RetireAuthority ends the authority of before: it ledgers that, destroys its key, and
// has the gateway's certificate issued by the new one. Parties who hold nothing of the
// new authority are shut out, so it is refused, naming them, unless force is set.
func (d *Domain) RetireAuthority(ctx context.Context, actor string, force bool) (epoch int, parties []string, receipt ledger.Receipt, err error) {
	d.rotating.Lock()
	defer d.rotating.Unlock()
	if err := d.settleKeys(ctx); err != nil {
		return 0, nil, receipt, err
	}
	if err := d.renewTLS(); err != nil {
		return 0, nil, receipt, err
	}
	d.log.View(func() {
		epoch = d.state.KeyEpoch(entry.KeyCA) - 1
		if x := d.state.CheckRetire(actor, epoch); x != nil {
			err = refusal(*x)
		}
		parties = d.unrenewed(d.state.Book())
	})
	if err != nil {
		return 0, nil, receipt, err
	}
	if len(parties) > 0 && !force {
		names := strings.Join(parties, ", ")
		return 0, nil, receipt, refusal(policies.Reason{Code: "CA_IN_USE", Rule: "keys", SetBy: actor,
			ZH:     "自网关启动以来，下列参与方最近一次连接未用新颁发机构的证书，停用后可能无法连接：" + names,
			EN:     "since the gateway started these parties were not last seen with a certificate of the new authority and may be shut out: " + names,
			HintZH: "用 sandgate party renew 更新其密钥包并连接一次，或加 --force", HintEN: "renew their kits with sandgate party renew and connect once, or use --force"})
	}
	if receipt, err = d.append(ctx, func(e *entry.Entry) error {
		if x := d.state.CheckRetire(actor, epoch); x != nil {
			return refusal(*x)
		}
		e.Kind, e.Actor, e.Erased = entry.KindErased, actor, &entry.Erased{Key: entry.KeyCA, Epoch: epoch}
		return nil
	}); err != nil {
		return 0, nil, receipt, err
	}
	if err := d.step("ca.retired"); err != nil {
		return epoch, parties, receipt, err
	}
	next, err := d.home.EraseOld(d.keys, entry.KeyCA, epoch)
	if err != nil {
		return epoch, parties, receipt, err
	}
	d.take(next)
	return epoch, parties, receipt, d.renewTLS()
}

// RetireKey implements sandgatev1.KeyServiceServer.
func (s *keyService) RetireKey(ctx context.Context, req *sandgatev1.RetireKeyRequest) (*sandgatev1.RetireKeyResponse, error) {
	if err := s.d.Authorize(caller(ctx), policies.ActRotateKey, policies.Resource{}); err != nil {
		return nil, err
	}
	if req.GetKey() != entry.KeyCA {
		return nil, invalid("KEY_UNKNOWN", "只有 ca 需要停用", "ca is the only key that is retired")
	}
	epoch, parties, receipt, err := s.d.RetireAuthority(ctx, caller(ctx), req.GetForce())
	if err != nil {
		return nil, err
	}
	return &sandgatev1.RetireKeyResponse{Epoch: int32(epoch), Parties: parties, Receipt: receiptOf(receipt)}, nil
}
