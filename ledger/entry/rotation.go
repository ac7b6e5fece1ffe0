package entry

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"
)

// Kinds of entry about the rotation of keys; see also KindRotated.
const (
	// KindAnnounced names the next checkpoint key, while the one before still signs.
	KindAnnounced Kind = "key.announced"
	// KindErased says that keys of before are erased.
	KindErased Kind = "key.erased"
)

// Keys that are rotated.
const (
	KeyStorage = "storage" // wraps the data keys of snapshots
	KeyLog     = "log"     // signs checkpoints
	KeyReceipt = "receipt" // signs receipts
	KeyToken   = "token"   // unit tokens, ranks, pseudonyms
	KeyCommit  = "commit"  // salts of commitments to queries
	KeyConsent = "consent" // commitments to the subjects of consents and verifications
	KeyServer  = "server"  // the gateway's certificate
	KeyCA      = "ca"      // the authority of all certificates
)

// Announced hands a log over to its next checkpoint key. Both keys sign
// evidence.RotationText of this entry, the old so that whoever trusts it can trust
// the new, the new to show that its holder is there. The change itself is a
// KindRotated that holds a checkpoint of the old key over this entry.
type Announced struct {
	Key  string `json:"key"`  // log
	From string `json:"from"` // verifier keys
	To   string `json:"to"`
	Old  []byte `json:"old"` // signature by From
	New  []byte `json:"new"` // signature by To
}

// Erased says that the keys of a secret up to an epoch are no longer in the
// gateway's keyring; the first entry of a new epoch counts from 0. Of the authority it
// says too that certificates of theirs are refused.
type Erased struct {
	Key   string `json:"key"` // token, ca
	Epoch int    `json:"epoch"`
}

// KeyName names a secret key so that it can be told from others and nothing else
// be learnt of it.
func KeyName(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("sandgate/key-name/v1"))
	return "local:" + hex.EncodeToString(mac.Sum(nil)[:8])
}

func (a *Announced) check() error {
	if a.Key != KeyLog || a.From == "" || a.To == "" || len(a.Old) == 0 || len(a.New) == 0 {
		return errors.New("announcement does not name its keys")
	}
	return nil
}

func (x *Erased) check() error {
	if x.Key != KeyToken && x.Key != KeyCA || x.Epoch < 0 {
		return errors.New("erasure does not name its keys")
	}
	return nil
}

func (r *Rotated) check() error {
	if r.From == "" || r.To == "" || r.Moved < 0 || r.Left < 0 || r.Epoch < 0 ||
		!slices.Contains([]string{KeyStorage, KeyLog, KeyReceipt, KeyToken, KeyCommit, KeyConsent, KeyServer, KeyCA}, r.Key) {
		return errors.New("rotation does not name its keys")
	}
	signed, counted := r.Key == KeyReceipt, slices.Contains([]string{KeyToken, KeyCommit, KeyConsent, KeyCA}, r.Key)
	if signed != (len(r.Old) > 0) || signed != (len(r.New) > 0) || counted != (r.Epoch > 0) || (r.Key == KeyLog) != (r.Checkpoint != "") ||
		r.Key != KeyStorage && (r.Moved > 0 || r.Left > 0) {
		return errors.New("rotation bears what another key's would")
	}
	return nil
}
