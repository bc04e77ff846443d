package token

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// The limits on wrong tokens: a burst, then one every few seconds, by IPv4 address or IPv6 /64 network.
const (
	wrongBurst    = 20
	wrongEvery    = 3 * time.Second
	maxAddresses  = 4096
	ipv6PrefixLen = 64
)

// limiter bounds wrong tokens by address. It remembers the latest maxAddresses addresses.
type limiter struct {
	now func() time.Time

	mu     sync.Mutex // guards what follows
	byAddr map[netip.Addr]*list.Element
	order  *list.List // of *bucket, latest used first
}

type bucket struct {
	addr netip.Addr
	rate *rate.Limiter
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, byAddr: map[netip.Addr]*list.Element{}, order: list.New()}
}

// allow takes one wrong token from the allowance of addr.
func (l *limiter) allow(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(ipv6PrefixLen); err == nil {
			addr = p.Addr()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	el, ok := l.byAddr[addr]
	if ok {
		l.order.MoveToFront(el)
	} else {
		if l.order.Len() >= maxAddresses {
			oldest := l.order.Remove(l.order.Back()).(*bucket)
			delete(l.byAddr, oldest.addr)
		}
		el = l.order.PushFront(&bucket{addr: addr, rate: rate.NewLimiter(rate.Every(wrongEvery), wrongBurst)})
		l.byAddr[addr] = el
	}
	return el.Value.(*bucket).rate.AllowN(l.now(), 1)
}
