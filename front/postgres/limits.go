package postgres

import (
	"container/list"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what clients may take. A zero field means the value given in its comment.
type Limits struct {
	// Connections is how many clients may be connected at once: 1000. Those still in the handshake count.
	Connections int
	// Handshake is how long a client may take until it is authenticated: 10 s.
	Handshake time.Duration
	// Message is the largest message of a client, in bytes: 64 MiB. A larger one is read past and refused.
	Message int
	// CopySpool is how much incoming COPY data of one connection is kept to be part of the digest: 16 MiB.
	CopySpool int
	// Kept is what the prepared statements and portals of one connection may take: 128 MiB.
	Kept int
	// Memory is what large messages, spools, prepared statements and portals of all connections may take
	// together: 512 MiB.
	Memory int64
	// FailedHandshakes is how many failed handshakes an address may make in a row: 30, and one more every 2 s.
	// IPv6 addresses count by their /64 network.
	FailedHandshakes int
	// HoldMax is the longest wait that a client may ask for with countersign.hold: 1 h.
	HoldMax time.Duration
}

func (l Limits) withDefaults() Limits {
	set(&l.Connections, 1000)
	set(&l.Handshake, 10*time.Second)
	set(&l.Message, 64<<20)
	set(&l.CopySpool, 16<<20)
	set(&l.Kept, 128<<20)
	set(&l.Memory, 512<<20)
	set(&l.FailedHandshakes, 30)
	set(&l.HoldMax, time.Hour)
	return l
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// The fixed limits of the handshake.
const (
	maxStartup     = 10_000 // bytes of a startup message, as the server's own
	maxPassword    = 16_384 // bytes of a password message; tokens of identity providers are long
	maxStartupKeys = 64
	failedEvery    = 2 * time.Second
	maxAddresses   = 4096
)

// budget is memory shared by all connections.
type budget struct {
	max  int64
	used atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) <= b.max {
		return true
	}
	b.used.Add(int64(-n))
	return false
}

// owe takes what is in use already, be it more than there is.
func (b *budget) owe(n int) { b.used.Add(int64(n)) }

func (b *budget) give(n int) { b.used.Add(int64(-n)) }

// failures bounds failed handshakes by address. It remembers the latest maxAddresses addresses.
type failures struct {
	burst int
	now   func() time.Time

	mu     sync.Mutex // guards what follows
	byAddr map[netip.Addr]*list.Element
	order  *list.List // of *bucket, latest first
}

type bucket struct {
	addr netip.Addr
	rate *rate.Limiter
}

func newFailures(burst int, now func() time.Time) *failures {
	return &failures{burst: burst, now: now, byAddr: map[netip.Addr]*list.Element{}, order: list.New()}
}

func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// exhausted reports whether addr has used up its failures for now.
func (f *failures) exhausted(addr netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	el, ok := f.byAddr[network(addr)]
	return ok && el.Value.(*bucket).rate.TokensAt(f.now()) < 1
}

// add counts one failure of addr.
func (f *failures) add(addr netip.Addr) {
	addr = network(addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	el, ok := f.byAddr[addr]
	if ok {
		f.order.MoveToFront(el)
	} else {
		if f.order.Len() >= maxAddresses {
			oldest := f.order.Remove(f.order.Back()).(*bucket)
			delete(f.byAddr, oldest.addr)
		}
		el = f.order.PushFront(&bucket{addr: addr, rate: rate.NewLimiter(rate.Every(failedEvery), f.burst)})
		f.byAddr[addr] = el
	}
	el.Value.(*bucket).rate.AllowN(f.now(), 1)
}
