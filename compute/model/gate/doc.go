// Package gate is the model release gate 模型合格检验: it attacks a trained model the way
// an informed operator would and says whether anything of it may leave the domain.
//
// Run tries the family rule, a static scan of what the model holds, membership
// inference with shadow models (LiRA), a worst-case classifier on the scores, planted
// canaries, attribute inference, an informed adversary who lacks one value, and a
// search for stored records. The same attacks are made on a model that memorises its
// rows, built here: an attack that does not catch it proves nothing, and the verdict is
// then VOID. Package report renders the outcome for people.
//
// The package is pure but for the reader of randomness, and repeatable: one seed is
// read from it, and every draw of every attack follows from that seed. The figures of
// a report are averages over many units, rounded to three decimals, but they are not
// noised: they prove an absence of leakage, they are not statistics about the data.
package gate
