package main

import (
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// lease: one that is kept alive outlives the store's breaks; one that is not ends by itself, and not early.
func lease(r *run) {
	client := r.client()
	defer client.Close()
	kept, err := client.Grant(r.ctx, ttlSeconds)
	must(err)
	fmt.Printf("granted for %d s\n", kept.TTL)
	created, err := client.Put(r.ctx, r.prefix+"kept", "", clientv3.WithLease(kept.ID))
	must(err)
	renewals, err := client.KeepAlive(r.ctx, kept.ID)
	must(err)
	ended := make(chan int, 1)
	go func() {
		number := 0
		for range renewals {
			number++
		}
		ended <- number
	}()
	watched := client.Watch(r.ctx, r.prefix+"left", clientv3.WithFilterPut())

	begun := time.Now()
	left, err := client.Grant(r.ctx, ttlSeconds)
	must(err)
	_, err = client.Put(r.ctx, r.prefix+"left", "", clientv3.WithLease(left.ID))
	must(err)
	r.breakStore()
	response := <-watched
	must(response.Err())
	lived := time.Since(begun)
	check(lived > ttlSeconds*time.Second, "a lease of %d s was lost after %v", ttlSeconds, lived)
	check(lived < 3*ttlSeconds*time.Second, "a lease of %d s lived for %v", ttlSeconds, lived)
	fmt.Printf("the lease that was left: %s\n", response.Events[0].Type)
	note("a lease of %d s that was left over a break lived for %v", ttlSeconds, lived)
	r.breakStore()

	time.Sleep(time.Until(begun.Add(3 * ttlSeconds * time.Second))) // the time in which it must not be lost
	select {
	case number := <-ended:
		check(false, "the lease was lost after %d renewals", number)
	default:
	}
	alive, err := client.TimeToLive(r.ctx, kept.ID, clientv3.WithAttachedKeys())
	must(err)
	check(0 < alive.TTL && alive.TTL <= ttlSeconds, "it lives on for %d s", alive.TTL)
	fmt.Printf("the lease that was kept, of %d s: %s\n", alive.GrantedTTL, alive.Keys)
	found, err := client.Get(r.ctx, r.prefix+"kept")
	must(err)
	fmt.Printf("its key is the same: %t\n", found.Kvs[0].CreateRevision == created.Header.Revision)
	_, err = client.Revoke(r.ctx, kept.ID)
	must(err)
	found, err = client.Get(r.ctx, r.prefix+"kept")
	must(err)
	fmt.Printf("revoked: %d keys\n", found.Count)
	<-ended
	_, err = client.KeepAliveOnce(r.ctx, kept.ID)
	fmt.Printf("kept alive afterwards: %v\n", err)
	gone, err := client.TimeToLive(r.ctx, kept.ID)
	must(err)
	fmt.Printf("lives on: %d\n", gone.TTL)
}
