package encrypted

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time of this thread, which other processes do not add to.
func cpu() time.Duration {
	const thisThread = 1 // RUSAGE_THREAD
	var u syscall.Rusage
	if err := syscall.Getrusage(thisThread, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEncrypted scores 8192 rows of 32 inputs on one core: at the gateway, at the
// client, and in the clear; processor time.
func BenchmarkEncrypted(b *testing.B) {
	const inputs = 32
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := scheme(b)
	x, w := rowsOf(inputs, 1, BlockRows, 1)
	weights, err := NewWeights(w)
	if err != nil {
		b.Fatal(err)
	}
	var plain, here, there time.Duration
	var up, down int
	for range b.N {
		at := cpu()
		out := make([]float64, BlockRows)
		for i := range out {
			out[i] = w[0][0]
		}
		for i, col := range x {
			for j, v := range col {
				out[j] += w[0][i+1] * float64(v)
			}
		}
		plain += cpu() - at

		at = cpu()
		c := client(b, s, 1)
		var parts [][]byte
		for _, col := range x {
			p, err := c.Encrypt(col)
			if err != nil {
				b.Fatal(err)
			}
			parts = append(parts, p)
		}
		here += cpu() - at

		at = cpu()
		e, err := s.Evaluate(weights, c.Seed(), c.Key(), BlockRows, randomness(2))
		if err != nil {
			b.Fatal(err)
		}
		for _, p := range parts {
			if err := e.Add(p); err != nil {
				b.Fatal(err)
			}
		}
		r, err := e.Reply(0)
		if err != nil {
			b.Fatal(err)
		}
		there += cpu() - at

		at = cpu()
		if _, err := c.Open(r, BlockRows); err != nil {
			b.Fatal(err)
		}
		here += cpu() - at
		up, down = len(c.Seed())+len(c.Key())+inputs*PartBytes, len(r)
	}
	rows := float64(b.N) * BlockRows
	b.ReportMetric(float64(there.Nanoseconds())/1e3/rows, "gateway-µs/row")
	b.ReportMetric(float64(here.Nanoseconds())/1e3/rows, "client-µs/row")
	b.ReportMetric(there.Seconds()/plain.Seconds(), "gateway÷clear")
	b.ReportMetric(float64(up)/BlockRows, "up-B/row")
	b.ReportMetric(float64(down)/BlockRows, "down-B/row")
}
