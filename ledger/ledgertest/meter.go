package ledgertest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"syscall"
	"testing"
	"time"
)

// CPU is the processor time of this process so far, user and system, all threads.
func CPU(tb testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// VerifyCost is what one verification by crypto/ed25519 costs the processor here and now:
// the measure of a figure that is bound by the processor, which a busy or a slow machine
// changes alike.
func VerifyCost(tb testing.TB) time.Duration {
	const n = 2000
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	text := make([]byte, 512)
	sig, pub := ed25519.Sign(key, text), key.Public().(ed25519.PublicKey)
	begin := CPU(tb)
	for range n {
		if !ed25519.Verify(pub, text, sig) {
			tb.Fatal("a signature just made does not verify")
		}
	}
	return (CPU(tb) - begin) / n
}

// HashCost is what SHA-256 of one KiB costs the processor here and now.
func HashCost(tb testing.TB) time.Duration {
	const n = 50_000
	text := make([]byte, 1024)
	begin := CPU(tb)
	for range n {
		sum := sha256.Sum256(text)
		text[0] = sum[0]
	}
	return (CPU(tb) - begin) / n
}
