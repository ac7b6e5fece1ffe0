package entry

import "github.com/sandgate/sandgate/policies"

// KindOrdered records an order that the gateway gave because a signed standing
// order calls for it (R27). The gateway writes it; a replay decides again that the
// standing order was in force, that its condition was met at the entry's time, and
// that the order is the one it calls for and had not been given on this occasion.
const KindOrdered Kind = "order.automatic"

// Ordered is the order in full, so that a reader needs nothing else to know it.
type Ordered = policies.Automatic
