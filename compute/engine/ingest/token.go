package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
)

// tokenOf is the unit token of kind ‖ 0 ‖ canonical identifier under a keyed hash.
func tokenOf(mac hash.Hash, unit []byte) uint64 {
	mac.Reset()
	_, _ = mac.Write(unit)
	var sum [sha256.Size]byte
	return binary.BigEndian.Uint64(mac.Sum(sum[:0]))
}

// UnitTokenOf is the token under which ingest stores a unit, for whoever looks up
// the one unit a verification asks about; false when the identifier is malformed.
// key is Keys.Unit of the snapshot's ingest.
func UnitTokenOf(key []byte, kind, identifier string) (uint64, bool) {
	canonical, ok := CanonicalUnit(kind, identifier)
	if !ok {
		return 0, false
	}
	return tokenOf(hmac.New(sha256.New, key), append(append([]byte(kind), 0), canonical...)), true
}
