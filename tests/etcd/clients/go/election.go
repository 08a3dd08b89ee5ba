package main

import (
	"fmt"

	"go.etcd.io/etcd/client/v3/concurrency"
)

// election: a leader stays one while the store breaks, and who observes sees each of them.
func election(r *run) {
	one, two, three := r.client(), r.client(), r.client()
	defer one.Close()
	defer two.Close()
	defer three.Close()
	first, second, third := r.session(one), r.session(two), r.session(three)
	name := r.prefix + "election"
	ours, theirs := concurrency.NewElection(first, name), concurrency.NewElection(second, name)
	observed := concurrency.NewElection(third, name).Observe(r.ctx)
	until := func(value string) {
		for response := range observed {
			if string(response.Kvs[0].Value) == value {
				fmt.Printf("observed: %s\n", value)
				return
			}
		}
		check(false, "the observer has ended")
	}

	_, err := ours.Leader(r.ctx)
	fmt.Printf("before: %v\n", err)
	must(ours.Campaign(r.ctx, "one"))
	until("one")
	elected := make(chan error, 1)
	go func() { elected <- theirs.Campaign(r.ctx, "two") }()
	r.candidates(one, name+"/", 2)

	r.breakStore()
	r.insist(func() error { return ours.Proclaim(r.ctx, "one again") })
	until("one again")
	leader, err := theirs.Leader(r.ctx)
	must(err)
	fmt.Printf("leader: %s\n", leader.Kvs[0].Value)
	select {
	case err := <-elected:
		check(false, "the second one did not wait: %v", err)
	case <-first.Done():
		check(false, "the session of the leader has ended")
	default:
	}
	must(ours.Resign(r.ctx))
	must(<-elected)
	until("two")

	r.breakStore()
	r.insist(func() error { return theirs.Proclaim(r.ctx, "two again") })
	until("two again")
	must(second.Close())
	must(ours.Campaign(r.ctx, "one at last"))
	until("one at last")
	must(first.Close())
	must(third.Close())
}
