package state

import (
	"slices"
	"time"

	"github.com/sandgate/sandgate/compute/algebra"
	"github.com/sandgate/sandgate/ledger/entry"
	"github.com/sandgate/sandgate/policies"
)

// OldestAuthority is the first epoch of the certificate authority that is not retired.
func (s *State) OldestAuthority() int { return s.keys.oldest[entry.KeyCA] }

// ConsentEpochOf is the epoch of the consent key that was in force when the year of an
// instant began.
func (s *State) ConsentEpochOf(at time.Time) int {
	n := 0
	for _, ms := range s.keys.consents {
		if Year(time.UnixMilli(ms)) < Year(at) {
			n++
		}
	}
	return n
}

// needsConsents says whether the rows of a data set are matched with consents.
func (s *State) needsConsents(dataset string) bool {
	e, ok := s.book.Dataset(dataset)
	return ok && e.Dataset.Consent == policies.ConsentRequired
}

// ConsentsBefore lists the data sets that need consents and whose snapshot in force
// is matched with such of an earlier key, and the departments with standing consents
// that were recorded before this one came into force; both sorted.
func (s *State) ConsentsBefore() (datasets, departments []string) {
	for id, snap := range s.snapshots {
		if s.needsConsents(id) && snap.ConsentEpoch < s.keys.epochs[entry.KeyConsent] {
			datasets = append(datasets, id)
		}
	}
	for _, r := range s.book.Consents() {
		if s.keys.epochs[entry.KeyConsent] > 0 && r.Withdrawn.IsZero() && r.At.UnixMilli() <= s.keys.inForce[entry.KeyConsent].At {
			departments = append(departments, r.Consent.Department)
		}
	}
	slices.Sort(datasets)
	slices.Sort(departments)
	return datasets, slices.Compact(departments)
}

// CheckConsentEpoch refuses a snapshot whose rows are matched with the consents of a
// key that is not in force.
func (s *State) CheckConsentEpoch(dataset string, epoch int) *policies.Reason {
	want := 0
	if s.needsConsents(dataset) {
		want = s.keys.epochs[entry.KeyConsent]
	}
	if epoch == want {
		return nil
	}
	return &policies.Reason{Code: "CONSENT_KEY_MOVED", Rule: "keys", SetBy: "sandgate",
		ZH: "入库期间同意书密钥已轮换；原快照不变", EN: "the key of consents was replaced during the ingest; the old snapshot stands",
		HintZH: "请重新入库", HintEN: "ingest the file again"}
}

// consentEpoch refuses to hold consents of one key against rows of another: nobody
// would be found, and who agreed not be told from who did not.
func (s *State) consentEpoch(core algebra.Core) *policies.Reason {
	for _, id := range core.Datasets() {
		if s.needsConsents(id) && s.snapshots[id].ConsentEpoch != s.keys.epochs[entry.KeyConsent] {
			e, _ := s.book.Dataset(id)
			return &policies.Reason{Code: "CONSENT_EPOCH", Rule: "catalogue/" + id, SetBy: e.Department,
				ZH:     "同意书密钥已轮换，数据集“" + id + "”尚未用新密钥入库，暂不答复",
				EN:     "the key of consents was replaced and data set \"" + id + "\" was not ingested since, so it answers nothing",
				HintZH: "由" + e.Department + "重新入库该数据集，并重新登记同意书", HintEN: "have " + e.Department + " ingest the data set and record its consents again"}
		}
	}
	return nil
}

// CheckTurn refuses a third authority beside two: what two certificates in a file of a
// party's kit would lack.
func (s *State) CheckTurn(key string) *policies.Reason {
	if key != entry.KeyCA || s.keys.oldest[key] == s.keys.epochs[key] {
		return nil
	}
	return &policies.Reason{Code: "CA_NOT_RETIRED", Rule: "keys", SetBy: s.book.Root(),
		ZH: "先前的证书颁发机构尚未停用", EN: "the certificate authority of before is not retired yet",
		HintZH: "先执行 sandgate key retire ca", HintEN: "run sandgate key retire ca first"}
}

// CheckRetire says whether a party may retire the certificate authorities up to an
// epoch.
func (s *State) CheckRetire(actor string, epoch int) *policies.Reason {
	if x := s.CheckRotate(actor); x != nil {
		return x
	}
	if epoch >= s.keys.oldest[entry.KeyCA] && epoch == s.keys.epochs[entry.KeyCA]-1 {
		return nil
	}
	return &policies.Reason{Code: "NOTHING_TO_RETIRE", Rule: "keys", SetBy: s.book.Root(),
		ZH: "没有待停用的证书颁发机构", EN: "there is no certificate authority of before to retire",
		HintZH: "先执行 sandgate key rotate ca", HintEN: "run sandgate key rotate ca first"}
}
