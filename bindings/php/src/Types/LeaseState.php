<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The state of a lease on a work item.
 */
final class LeaseState extends Model
{
    /**
     * "held"; "stop_requested": end the work and finish; "lost": stop working at once, another worker may hold the item;
     * "claimed": the worker only claims, and another process is to begin the lease (`heartbeat: false`).
     */
    public readonly string $state;

    /**
     * Why it is no longer simply held: "asked", "not_extended", "rejected", "shutdown" (the worker was stopped, and its
     * grace period is over); "taken", "expired", "shutdown" (the library was shut down).
     */
    public readonly ?string $reason;

    /** The item's identifier. */
    public readonly string $workID;

    /** How many seconds a heartbeat extends the lease for. */
    public readonly ?int $ttlSeconds;

    /** The last heartbeat's time, as the server wrote it. */
    public readonly ?string $lastHeartbeat;

    /** How many heartbeats succeeded. */
    public readonly int $beats;
}
