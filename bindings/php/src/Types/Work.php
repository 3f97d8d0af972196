<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A work item of a self-hosted environment.
 */
final class Work extends Model
{
    public const TYPE = 'work';

    protected const SECRET = ['secret'];

    /** Identifier (`work_...`). */
    public readonly string $id;

    /** When it was acknowledged (RFC 3339). */
    public readonly ?string $acknowledgedAt;

    /** When it was queued. */
    public readonly string $createdAt;

    /** The work to do. */
    public readonly SessionWorkData|Model $data;

    /** The environment that it belongs to. */
    public readonly string $environmentID;

    /** When its last heartbeat was recorded. */
    public readonly ?string $latestHeartbeatAt;

    /**
     * The user's key-value pairs.
     *
     * @var array<string, string>
     */
    public readonly array $metadata;

    /** When work on it began. */
    public readonly ?string $startedAt;

    /** Its state; a text when this version does not know the value. */
    public readonly State|string $state;

    /** When it was asked to stop. */
    public readonly ?string $stopRequestedAt;

    /** When it stopped. */
    public readonly ?string $stoppedAt;

    /** Always "work". */
    public readonly string $type;

    /** Returns the credential for serving it; null when there is none. Only `poll` returns it, and no dump shows it. */
    public function secret(): ?string
    {
        $secret = $this->toArray()['secret'] ?? null;

        return is_string($secret) ? $secret : null;
    }
}
