<?php

declare(strict_types=1);

namespace Antenv\Tools;

/**
 * Where the bytes of an image or a document are.
 *
 * @internal
 */
final class Source
{
    /** The first bytes of the images that the API takes. */
    private const IMAGES = ["\x89PNG" => 'image/png', "\xFF\xD8\xFF" => 'image/jpeg', 'GIF8' => 'image/gif'];

    /** Returns the bytes, read from the file if need be; null when a URL or an identifier is given. */
    public static function bytes(?string $data, ?string $path, ?string $url, ?string $fileID): ?string
    {
        if (\count(array_filter([$data, $path, $url, $fileID], static fn (?string $one): bool => $one !== null)) !== 1) {
            throw new \InvalidArgumentException('give one of data, path, url and fileID');
        }
        if ($path === null) {
            return $data;
        }
        $bytes = @file_get_contents($path);
        if ($bytes === false) {
            $why = error_get_last()['message'] ?? '';
            throw new \InvalidArgumentException("path: the file cannot be read: $why");
        }
        return $bytes;
    }

    /** @return array<string, string> */
    public static function elsewhere(?string $url, ?string $fileID): array
    {
        return $url !== null ? ['type' => 'url', 'url' => $url] : ['type' => 'file', 'file_id' => (string) $fileID];
    }

    /** @return array<string, string> */
    public static function base64(string $bytes, string $mediaType): array
    {
        return ['type' => 'base64', 'media_type' => $mediaType, 'data' => base64_encode($bytes)];
    }

    /** @return array<string, string> */
    public static function text(string $bytes): array
    {
        if (preg_match('//u', $bytes) !== 1) {
            throw new \InvalidArgumentException('the document is neither PDF nor text in UTF-8');
        }
        return ['type' => 'text', 'media_type' => 'text/plain', 'data' => $bytes];
    }

    public static function imageType(string $bytes): string
    {
        foreach (self::IMAGES as $start => $type) {
            if (str_starts_with($bytes, $start)) {
                return $type;
            }
        }
        if (str_starts_with($bytes, 'RIFF') && substr($bytes, 8, 4) === 'WEBP') {
            return 'image/webp';
        }
        throw new \InvalidArgumentException('the image is no PNG, JPEG, GIF or WebP');
    }
}
