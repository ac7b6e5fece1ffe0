package budget

import (
	"errors"
	"math"
)

// Epsilon converts ρ-zCDP into the ε of (ε,δ)-differential privacy:
//
//	ε(α) = αρ + ln(1/(αδ))/(α−1) + ln(1−1/α), minimised over α > 1
//
// (Canonne, Kamath, Steinke 2020, Proposition 12; the Rényi order α is free, so
// every α gives a valid ε and an inexact minimum only overstates it). The result
// is for people: reports and explain. No decision depends on it. It errs on
// negative ρ and on δ outside (0,1).
func Epsilon(rho Nano, delta float64) (float64, error) {
	if rho < 0 {
		return 0, errors.New("failed to convert rho: it is negative")
	}
	if !(delta > 0 && delta < 1) {
		return 0, errors.New("failed to convert rho: delta must lie strictly between 0 and 1")
	}
	if rho == 0 {
		return 0, nil
	}
	r := rho.Rho()
	eps := func(logA1 float64) float64 {
		a1 := math.Exp(logA1) // α−1: kept apart, α→1 would cancel
		a := 1 + a1
		return a*r - math.Log(a*delta)/a1 + math.Log(a1/a)
	}
	// The optimum lies near 1+√(ln(1/δ)/ρ), which is within e^±45 for every
	// ρ of a Nano; ε is unimodal in α, so golden-section search finds it.
	const phi = 0.6180339887498949
	lo, hi := -45.0, 45.0
	x, y := hi-phi*(hi-lo), lo+phi*(hi-lo)
	fx, fy := eps(x), eps(y)
	for range 120 {
		if fx < fy {
			hi, y, fy = y, x, fx
			x = hi - phi*(hi-lo)
			fx = eps(x)
		} else {
			lo, x, fx = x, y, fy
			y = lo + phi*(hi-lo)
			fy = eps(y)
		}
	}
	return math.Max(0, math.Min(fx, fy)), nil
}
