<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A session: an agent at work in an environment.
 */
final class Session extends Model
{
    public const TYPE = 'session';

    /** Identifier (`sesn_...`). */
    public readonly string $id;

    /** Its agent. */
    public readonly SessionAgent|Model $agent;

    /** When it was archived (RFC 3339); null when it is not. */
    public readonly ?string $archivedAt;

    /**
     * The limit on what it may cost.
     *
     * @var array<string, mixed>|null
     */
    public readonly ?array $budget;

    /** When it was created. */
    public readonly string $createdAt;

    /** The environment that it runs in. */
    public readonly string $environmentID;

    /**
     * The user's key-value pairs.
     *
     * @var array<string, string>
     */
    public readonly array $metadata;

    /**
     * What is attached to it, with the API's names; `type` says what it is.
     *
     * @var list<array<string, mixed>>
     */
    public readonly array $resources;

    /** "rescheduling", "running", "idle" or "terminated". */
    public readonly string $status;

    /** Human-readable title. */
    public readonly ?string $title;

    /** Always "session". */
    public readonly string $type;

    /** When it was last updated. */
    public readonly string $updatedAt;

    /**
     * What it has used so far.
     *
     * @var array<string, mixed>|null
     */
    public readonly ?array $usage;
}
