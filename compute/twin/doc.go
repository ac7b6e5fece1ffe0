// Package twin learns a synthetic twin 合成孪生 of a data set: low-order marginals,
// measured under zCDP, from which rows are drawn that were never anyone's. It is pure:
// values in, values out; chance comes from a seed.
//
// Learning has the form of compute/model. Learn walks through at most three passes: it
// asks an Oracle for integer sums over the units and chooses the next pass from the
// answers. The sums are computed where the rows are, by Sums, in a jailed worker; the
// release kernel (release.Sums) adds exact discrete Gaussian noise outside it. A Twin
// is post-processing of released sums.
//
// The method is of the select–measure–generate kind: MST (McKenna, Miklau, Sheldon,
// "Winning the NIST Contest", Journal of Privacy and Confidentiality 11(3), 2021, doi
// 10.29012/jpc.778), with the second parent of PrivBayes (Zhang et al., ACM TODS 42(4),
// 2017, doi 10.1145/3134428) and the consistency of marginals of PrivSyn (Zhang et al.,
// USENIX Security 2021). In place of a private selection all pairs are measured on a
// coarse grid: at ≤ 64 columns that costs little more and serves the estimate too.
//
// Relations tie the twins of several tables by the unit: learned of a Span in two passes
// over units laid together (SpanSums), drawn from by Linked.
package twin
