package federate

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ValuesDigest is what a Result holds of the noisy sums.
func ValuesDigest(values []int64) string {
	h := sha256.New()
	var b []byte
	for len(values) > 0 {
		n := min(len(values), 1024)
		b = b[:0]
		for _, v := range values[:n] {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		h.Write(b)
		values = values[n:]
	}
	return hex.EncodeToString(h.Sum(nil))
}
