package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/compute/engine/sealed"
	"github.com/sandgate/sandgate/gateway/home"
	"github.com/sandgate/sandgate/ledger"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/ledger/evidence"
	"github.com/sandgate/sandgate/ledger/state"
	"github.com/sandgate/sandgate/policies"
)

// handoverWait bounds how long a log key's change waits for a checkpoint.
const handoverWait = 20 * time.Second

// newestKeys are what a log that does not exist yet begins with.
func (d *Domain) newestKeys() (ledger.Keys, error) { return d.home.LogKeys(d.keys.Log, d.keys.Receipt) }

// keysInForce brings the keyring in line with the replayed ledger, and says what the
// log signs with.
func (d *Domain) keysInForce() (ledger.Keys, error) {
	next, k, err := d.home.Follow(d.keys, d.state)
	if err != nil {
		return k, err
	}
	d.take(next)
	return k, nil
}

// take puts a keyring in the place of the one before.
func (d *Domain) take(next *home.Keys) {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	*d.keys = *next
}

// tokenKey is the key of unit tokens in force, with its epoch.
func (d *Domain) tokenKey() (epoch int, key []byte) {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	return d.keys.Epochs[entry.KeyToken], d.keys.Token
}

// tokenKeyOf is the token key of an epoch; false when it is erased, which no snapshot
// in force outlives.
func (d *Domain) tokenKeyOf(epoch int) ([]byte, bool) {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	if epoch == d.keys.Epochs[entry.KeyToken] {
		return d.keys.Token, true
	}
	for _, k := range d.keys.Old[entry.KeyToken] {
		if k.Epoch == epoch {
			return k.Key, true
		}
	}
	return nil, false
}

// subjectKey is what data subjects are committed to under, in consents and in the
// snapshots of data sets that need them, with its epoch. It outlives rotations of the
// token key.
func (d *Domain) subjectKey() (key []byte, epoch int) {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	return home.ConsentKey(d.keys), d.keys.Epochs[entry.KeyConsent]
}

// subjectKeyOf is the key of an epoch, none of which is ever erased.
func (d *Domain) subjectKeyOf(epoch int) []byte {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	return home.ConsentKeyOf(d.keys, epoch)
}

// commitKey is the key in force of commitments.
func (d *Domain) commitKey() []byte { return d.commitKeys()[0].Key }

// commitKeys are the keys of commitments, the one in force first.
func (d *Domain) commitKeys() []home.Held {
	d.keyMu.Lock()
	defer d.keyMu.Unlock()
	out := slices.Clone(d.keys.Old[entry.KeyCommit])
	out = append(out, home.Held{Epoch: d.keys.Epochs[entry.KeyCommit], Key: d.keys.Commit})
	slices.Reverse(out)
	return out
}

// commitment commits to a query by the key in force, or by that of before under
// which the very query was answered: so it is still known for a repeat.
func (d *Domain) commitment(canonical []byte, core *algebra.Core) (commitment string, epoch int) {
	for i, k := range d.commitKeys() {
		c, _ := entry.Commit(k.Key, canonical)
		if i == 0 {
			commitment, epoch = c, k.Epoch
		}
		if core == nil {
			break
		}
		answered := false
		d.log.View(func() { answered = d.state.Answered(c, core.Datasets()) })
		if answered {
			return c, k.Epoch
		}
	}
	return commitment, epoch
}

// sealedPost says whether a stored post-processing bears the seal of a key that was
// ever in force.
func (d *Domain) sealedPost(job string, seal, text []byte) bool {
	return slices.ContainsFunc(d.commitKeys(), func(k home.Held) bool { return hmac.Equal(seal, postSeal(k.Key, job, text)) })
}

// Rotate draws a new key, or has the key service do so, and puts it in force while
// jobs go on. A rotation that broke off is carried on by the same call.
func (d *Domain) Rotate(ctx context.Context, actor, key string) (entry.Rotated, ledger.Receipt, error) {
	var none ledger.Receipt
	var denied error
	d.log.View(func() {
		if x := d.state.CheckRotate(actor); x != nil {
			denied = refusal(*x)
		}
	})
	if denied != nil {
		return entry.Rotated{}, none, denied
	}
	rotate := map[string]func(context.Context, string) (entry.Rotated, ledger.Receipt, error){
		entry.KeyStorage: d.rotateStorage, entry.KeyLog: d.rotateLog, entry.KeyReceipt: d.rotateReceipt, entry.KeyServer: d.rotateServer,
		entry.KeyToken: func(ctx context.Context, by string) (entry.Rotated, ledger.Receipt, error) {
			return d.rotateSecret(ctx, by, entry.KeyToken)
		},
		entry.KeyCommit: func(ctx context.Context, by string) (entry.Rotated, ledger.Receipt, error) {
			return d.rotateSecret(ctx, by, entry.KeyCommit)
		},
		entry.KeyConsent: func(ctx context.Context, by string) (entry.Rotated, ledger.Receipt, error) {
			return d.rotateSecret(ctx, by, entry.KeyConsent)
		},
		entry.KeyCA: d.rotateAuthority,
	}[key]
	if rotate == nil {
		return entry.Rotated{}, none, invalid("KEY_UNKNOWN", "可轮换的密钥：storage、log、receipt、token、commit、consent、server、ca", "the keys that can be rotated are storage, log, receipt, token, commit, consent, server and ca")
	}
	d.rotating.Lock()
	defer d.rotating.Unlock()
	if err := d.settleKeys(ctx); err != nil {
		return entry.Rotated{}, none, err
	}
	out, receipt, err := rotate(ctx, actor)
	if errors.Is(err, sealed.ErrKeysAway) {
		err = keysAway()
	}
	return out, receipt, err
}

// settleKeys puts in force what the ledger has in force already and a failure kept
// from the keyring. The caller holds rotating.
func (d *Domain) settleKeys(ctx context.Context) error {
	var next *home.Keys
	var err error
	if serr := d.settled(ctx, func() { next, _, err = d.home.Follow(d.keys, d.state) }); serr != nil {
		return serr
	}
	if err != nil {
		return err
	}
	d.take(next)
	return nil
}

// draw makes the next key of a name durable before anything names it.
func (d *Domain) draw(ctx context.Context, name string) (from, to string, key []byte, err error) {
	var by sealed.Wrapper
	if d.service != nil {
		by = d.service
	}
	next, key, err := d.home.Draw(ctx, d.keys, name, by)
	if err != nil {
		return "", "", nil, err
	}
	d.take(next)
	if from, err = d.home.KeyName(name, d.inForce(name)); err != nil {
		return "", "", nil, err
	}
	to, err = d.home.KeyName(name, key)
	return from, to, key, errors.Join(err, d.step(name+".drawn"))
}

func (d *Domain) inForce(name string) []byte {
	switch name {
	case entry.KeyLog:
		return d.keys.Log
	case entry.KeyReceipt:
		return d.keys.Receipt
	case entry.KeyToken:
		return d.keys.Token
	case entry.KeyServer:
		return d.keys.Server
	case entry.KeyConsent:
		return home.ConsentKey(d.keys)
	case entry.KeyCA:
		return d.keys.CA
	}
	return d.keys.Commit
}

// promote puts the drawn key in force in the keyring, as the ledger has.
func (d *Domain) promote(name string) error {
	if err := d.step(name + ".ledgered"); err != nil {
		return err
	}
	next, err := d.home.Promote(d.keys, name)
	if err != nil {
		return err
	}
	d.take(next)
	return nil
}

// rotateLog announces the next checkpoint key in an entry that both keys sign, has
// the old key sign a checkpoint over it, and puts the new one in force in an entry
// that holds that checkpoint. Nobody waits: until that entry the old key signs.
func (d *Domain) rotateLog(ctx context.Context, actor string) (entry.Rotated, ledger.Receipt, error) {
	from, to, key, err := d.draw(ctx, entry.KeyLog)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	var waiting *state.Announcement
	d.log.View(func() { waiting = d.state.Announced() })
	if waiting == nil || waiting.To != to {
		old := ed25519.NewKeyFromSeed(d.keys.Log)
		if _, err = d.append(ctx, func(e *entry.Entry) error {
			text := evidence.RotationText(d.home.Config.Origin, entry.KeyLog, from, to, e.Seq)
			e.Kind, e.Actor = entry.KindAnnounced, actor
			e.Announced = &entry.Announced{Key: entry.KeyLog, From: from, To: to, Old: ed25519.Sign(old, text), New: ed25519.Sign(ed25519.NewKeyFromSeed(key), text)}
			return nil
		}); err != nil {
			return entry.Rotated{}, ledger.Receipt{}, err
		}
		if err := d.step("log.announced"); err != nil {
			return entry.Rotated{}, ledger.Receipt{}, err
		}
	}
	return d.handOver(ctx)
}

// handOver carries an announced checkpoint key to its end.
func (d *Domain) handOver(ctx context.Context) (entry.Rotated, ledger.Receipt, error) {
	var a *state.Announcement
	d.log.View(func() { a = d.state.Announced() })
	wait, cancel := context.WithTimeout(ctx, handoverWait)
	defer cancel()
	cp, err := d.log.WaitPublished(wait, a.Seq)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, fmt.Errorf("failed to have the old log key sign over the announcement of the new, which goes on waiting: %w", err)
	}
	if err := d.step("log.checkpoint"); err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	signs, err := d.home.LogKeys(d.keys.Next[entry.KeyLog].Key, d.keys.Receipt)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	out := entry.Rotated{Key: entry.KeyLog, From: a.From, To: a.To, Checkpoint: string(cp)}
	receipt, err := d.rekey(ctx, ledger.Keys{Signer: signs.Signer}, func(e *entry.Entry) {
		e.Kind, e.Actor, e.Rotated = entry.KindRotated, "gateway", &out
	})
	if err != nil {
		return out, receipt, err
	}
	return out, receipt, d.promote(entry.KeyLog)
}

// rekey is append for the entry that changes what the log signs with.
func (d *Domain) rekey(ctx context.Context, k ledger.Keys, fill func(*entry.Entry)) (ledger.Receipt, error) {
	receipts, err := d.log.Rekey(ctx, k, func() ([][]byte, error) {
		e := entry.Entry{V: entry.Version, Seq: d.state.Size(), At: d.instant().UnixMilli()}
		fill(&e)
		text, err := entry.Encode(&e)
		return [][]byte{text}, err
	})
	if err != nil {
		return ledger.Receipt{}, err
	}
	return receipts[0], nil
}

// rotateReceipt changes the receipt key in one entry that both keys sign.
func (d *Domain) rotateReceipt(ctx context.Context, actor string) (entry.Rotated, ledger.Receipt, error) {
	from, to, key, err := d.draw(ctx, entry.KeyReceipt)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	old, next := ed25519.NewKeyFromSeed(d.keys.Receipt), ed25519.NewKeyFromSeed(key)
	out := entry.Rotated{Key: entry.KeyReceipt, From: from, To: to}
	receipt, err := d.rekey(ctx, ledger.Keys{ReceiptKey: next}, func(e *entry.Entry) {
		text := evidence.RotationText(d.home.Config.Origin, entry.KeyReceipt, from, to, e.Seq)
		out.Old, out.New = ed25519.Sign(old, text), ed25519.Sign(next, text)
		e.Kind, e.Actor, e.Rotated = entry.KindRotated, actor, &out
	})
	if err != nil {
		return out, receipt, err
	}
	return out, receipt, d.promote(entry.KeyReceipt)
}

// rotateSecret opens a new epoch of the token, commit, consent or ca key. What was made
// in earlier epochs stays good; see state.CheckEpoch, consentEpoch and commitment.
func (d *Domain) rotateSecret(ctx context.Context, actor, name string) (entry.Rotated, ledger.Receipt, error) {
	var x *policies.Reason
	d.log.View(func() { x = d.state.CheckTurn(name) })
	if x != nil {
		return entry.Rotated{}, ledger.Receipt{}, refusal(*x)
	}
	from, to, _, err := d.draw(ctx, name)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	out := entry.Rotated{Key: name, From: from, To: to, Epoch: d.keys.Next[name].Epoch}
	receipt, err := d.append(ctx, func(e *entry.Entry) error {
		e.Kind, e.Actor, e.Rotated = entry.KindRotated, actor, &out
		return nil
	})
	if err != nil {
		return out, receipt, err
	}
	if err := d.promote(name); err != nil {
		return out, receipt, err
	}
	d.eraseLater(ctx)
	return out, receipt, nil
}

// eraseTokens erases token keys that nothing in force was made by any more.
func (d *Domain) eraseTokens(ctx context.Context) {
	idle := false
	d.log.View(func() { idle = d.state.CheckErase(d.state.KeyEpoch(entry.KeyToken)-1) == nil })
	if !idle {
		return // without waiting for a rotation that goes on
	}
	d.rotating.Lock()
	defer d.rotating.Unlock()
	d.eraseLater(ctx)
}

// eraseLater is eraseUnused for who has done what he was asked: a failure keeps a key
// too long and is made up for at the next ingest or start.
func (d *Domain) eraseLater(ctx context.Context) {
	if err := d.eraseUnused(context.WithoutCancel(ctx)); err != nil {
		d.opt.Logger.Error("token keys of before could not be erased")
	}
}

// eraseUnused ledgers that token keys are erased, and erases them. The caller holds
// rotating.
func (d *Domain) eraseUnused(ctx context.Context) error {
	last, idle := 0, false
	d.log.View(func() {
		last = d.state.KeyEpoch(entry.KeyToken) - 1
		idle = d.state.CheckErase(last) == nil
	})
	if idle {
		if err := d.step("erase.entry"); err != nil {
			return err
		}
		if _, err := d.append(ctx, func(e *entry.Entry) error {
			e.Kind, e.Actor, e.Erased = entry.KindErased, "gateway", &entry.Erased{Key: entry.KeyToken, Epoch: last}
			return d.state.CheckErase(last)
		}); err != nil {
			return err
		}
	}
	oldest := 0
	d.log.View(func() { oldest = d.state.OldestToken() })
	if !slices.ContainsFunc(d.keys.Old[entry.KeyToken], func(h home.Held) bool { return h.Epoch < oldest }) {
		return nil
	}
	if err := d.step("erase.key"); err != nil {
		return err
	}
	next, err := d.home.EraseOld(d.keys, entry.KeyToken, oldest-1)
	if err != nil {
		return err
	}
	d.take(next)
	return nil
}

// finishKeys carries on at start with what a crash broke off.
func (d *Domain) finishKeys(ctx context.Context) error {
	d.rotating.Lock()
	defer d.rotating.Unlock()
	var waiting *state.Announcement
	d.log.View(func() { waiting = d.state.Announced() })
	if waiting != nil {
		held, ok := d.keys.Next[entry.KeyLog]
		name, err := d.home.KeyName(entry.KeyLog, held.Key)
		if !ok || err != nil || name != waiting.To {
			d.opt.Logger.Warn("the log key that was announced is not in the keyring; the one before stays in force until another is announced")
		} else if _, _, err := d.handOver(ctx); err != nil {
			d.opt.Logger.Warn("the log key that was announced is not in force yet: repeat sandgate key rotate log")
		}
	}
	return d.eraseUnused(ctx)
}

// renewTLS puts the certificate of the server key in force before new connections.
// Those that are open go on.
func (d *Domain) renewTLS() error {
	d.keyMu.Lock()
	keys := *d.keys
	d.keyMu.Unlock()
	conf, err := d.home.ServerTLS(&keys, d.opt.Now())
	if err != nil {
		return err
	}
	d.tls.Store(conf)
	return nil
}

// rotateServer changes the key and the certificate of the gateway.
func (d *Domain) rotateServer(ctx context.Context, actor string) (entry.Rotated, ledger.Receipt, error) {
	from, to, _, err := d.draw(ctx, entry.KeyServer)
	if err != nil {
		return entry.Rotated{}, ledger.Receipt{}, err
	}
	out := entry.Rotated{Key: entry.KeyServer, From: from, To: to}
	receipt, err := d.append(ctx, func(e *entry.Entry) error {
		e.Kind, e.Actor, e.Rotated = entry.KindRotated, actor, &out
		return nil
	})
	if err != nil {
		return out, receipt, err
	}
	if err := d.promote(entry.KeyServer); err != nil {
		return out, receipt, err
	}
	return out, receipt, d.renewTLS()
}
