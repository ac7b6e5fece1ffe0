package policies

// Settled ends the making of a book that was read back from its fields, as Apply ends
// that of the next one: what follows from its entries is then computed once.
func (b *Book) Settled() *Book { return b.settle() }
