FROM node:20-alpine
WORKDIR /app
# Copy only package files first (this cache survives most code changes)
COPY package*.json ./
# Install dependencies (cached until package.json changes)
RUN npm ci --only=production
# Copy application code last (changes most frequently)
COPY . .
EXPOSE 3000
CMD ["node", "server.js"]
