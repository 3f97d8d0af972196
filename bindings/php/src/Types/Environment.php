<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * An environment.
 */
final class Environment extends Model
{
    public const TYPE = 'environment';

    /** Identifier (`env_...`). */
    public readonly string $id;

    /** When it was archived (RFC 3339); null when it is not. */
    public readonly ?string $archivedAt;

    /** In the cloud, or self-hosted: see `$config->type`. */
    public readonly CloudConfig|SelfHostedConfig|Model $config;

    /** When it was created (RFC 3339). */
    public readonly string $createdAt;

    /** The user's description. */
    public readonly ?string $description;

    /**
     * The user's key-value pairs.
     *
     * @var array<string, string>
     */
    public readonly array $metadata;

    /** Human-readable name. */
    public readonly string $name;

    /** Always "environment". */
    public readonly string $type;

    /** When it was last updated (RFC 3339). */
    public readonly string $updatedAt;

    /** Who sees it; a text when this version does not know the value. */
    public readonly Scope|string|null $scope;
}
